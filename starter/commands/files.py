"""Commands about files: cases from the tables that departments have."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from activities import schema
from starter import imports
from starter.commands.terminal import LANGUAGE, As, Data, house_of, pairs_of, settings_of, with_front
from starter.front import Front
from starter.sheets import CannotImport

app = typer.Typer()


@app.command("import")
def import_file(
    process: str,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    by: As,
    mapping: Annotated[str, typer.Option("--map", help="列名=字段,… · header=field,…")] = "",
    fixed: Annotated[str, typer.Option("--set", help="字段=固定值,… · field=value,…")] = "",
    data: Data = None,
) -> None:
    """从 CSV 批量登记 · open many cases from a file; run it again to go on where it stopped."""
    house = house_of(settings_of(data))
    schema.check(house.database)
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())

    async def act(front: Front) -> imports.ImportReport:
        with bar:
            reading = bar.add_task(file.name, total=None)
            return imports.run_import(
                front.process(process),
                file,
                mapping=pairs_of(mapping, "--map"),
                fixed=pairs_of(fixed, "--set"),
                by=front.actor(by),
                submissions=front.submissions,
                zone=house.calendar,
                progress=lambda done, total: bar.update(reading, completed=done, total=total),
            )

    code = 0
    try:
        report = with_front(data, act)
    except CannotImport as error:
        raise SystemExit(str(error)) from error
    except (imports.ImportInterrupted, imports.ImportStopped) as broken:
        report, code = broken.report, 1
        print(broken, file=sys.stderr)
    print(imports.summary(report, house.settings.zone, LANGUAGE))
    raise typer.Exit(code)

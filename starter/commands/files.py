"""Commands about files: cases from the tables that departments have, and an empty table to fill in."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from activities import schema
from models.people import Person
from models.tasks import Process
from models.words import say
from starter.commands.terminal import LANGUAGE, As, Data, Interrupt, house_of, pairs_of, settings_of, with_front
from starter.front import Front
from starter.members.files import TABLES
from starter.spreadsheets import imports, templates
from starter.spreadsheets.sheets import CannotImport
from starter.submissions import Submissions
from workflows import PROCESSES

app = typer.Typer()


@app.command("import")
def import_file(
    process: str,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    by: As,
    mapping: Annotated[
        str, typer.Option("--map", help="列名=字段,… · header=field,…; 列名= · header= 不用这一列")
    ] = "",
    fixed: Annotated[str, typer.Option("--set", help="字段=固定值,… · field=value,…")] = "",
    sheet: Annotated[str | None, typer.Option("--sheet", help="工作表 · the sheet of a workbook")] = None,
    history: Annotated[
        bool, typer.Option("--history", help="都是已结案的旧工单 · every row is a closed old case")
    ] = False,
    data: Data = None,
) -> None:
    """从 Excel 或 CSV 批量登记 · open many cases from a file; run it again to go on where it stopped."""
    house = house_of(settings_of(data))
    schema.check(house.database)
    bar = Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )

    async def meet(front: Front) -> tuple[Process, Person, Submissions]:
        return front.process(process), front.actor(by), front.submissions

    kind, person, submissions = with_front(data, meet)
    code = 0
    try:
        with bar, Interrupt() as ctrl_c:  # outside the event loop, which would keep it to itself until all is done
            reading = bar.add_task(file.name, total=None)

            def progress(done: int, total: int) -> None:
                bar.update(reading, completed=done, total=total)
                ctrl_c.heard()

            report = imports.run_import(
                kind,
                file,
                mapping=pairs_of(mapping, "--map"),
                fixed=pairs_of(fixed, "--set"),
                by=person,
                submissions=submissions,
                zone=house.calendar,
                progress=progress,
                sheet=sheet,
                history=history,
                pause=ctrl_c.pause,
            )
    except CannotImport as error:
        raise SystemExit(error.said(LANGUAGE)) from error
    except (imports.ImportInterrupted, imports.ImportStopped) as broken:
        report, code = broken.report, 1
        print(broken.said(LANGUAGE), file=sys.stderr)
    print(imports.summary(report, house.settings.zone, LANGUAGE))
    raise typer.Exit(code or int(report.rejected > 0))


@app.command("template")
def write_template(
    process: str,
    file: Annotated[Path | None, typer.Argument(dir_okay=False)] = None,
    past: Annotated[
        bool, typer.Option("--past", help="带办理过程的列 · with columns for what was done before")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="覆盖已有文件 · replace an existing file")] = False,
) -> None:
    """生成一张可以填写、可以导入的空表 · write an empty workbook to fill in and import: of complaints, member, purchase."""
    tables = PROCESSES | TABLES
    if process not in tables:
        raise SystemExit(say("import", "no_process", LANGUAGE, process=process, processes=", ".join(tables)))
    target = file or Path(f"{process}.xlsx")
    try:
        templates.write(tables[process], target, LANGUAGE, with_past=past, replace=force)
    except CannotImport as error:
        raise SystemExit(error.said(LANGUAGE)) from error
    print(say("template", "written", LANGUAGE, path=target))

"""The command line: `kefu …`. Everything on one machine, or the same doors as the API for those who prefer to type."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
import uvicorn
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from activities import schema
from models.words import language_of, say
from settings import House, Settings, configure_logs
from starter import api, imports
from starter.front import Front
from starter.refusals import Invalid, NotFound, Refused
from starter.sheets import CannotImport
from starter.submissions import Receipt
from starter.views import CaseSummary, CaseView, NoticeView, TaskView
from workflows import PROCESSES

T = TypeVar("T")

app = typer.Typer(
    name="kefu",
    help="客服工作台 · the customer-service desk",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
out = Console()
LANGUAGE = language_of(os.environ.get("LANG"))

As = Annotated[str, typer.Option("--as", help="经办人工号 · the acting person's id", envvar="KEFU_ACTOR")]
Data = Annotated[Path | None, typer.Option("--data", help="数据目录 · where everything is kept")]
Fields = Annotated[list[str] | None, typer.Argument(help="字段=值 · field=value, dotted for nested ones")]
Json = Annotated[
    typer.FileText | None, typer.Option("--json", help="从 JSON 文件读取（- 为标准输入） · read the form from JSON")
]


@app.command()
def up(
    data: Data = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65533, help="端口，另占用其后两个 · the API's port; takes the next two as well"),
    ] = None,
    sample: Annotated[bool, typer.Option("--sample", help="装入样例 · with a made-up day of submissions")] = False,
) -> None:
    """在一台机器上启动全部 · everything on one machine: engine, worker, relay, API."""
    from starter.up import up as run

    settings = _settings(data, port=port)
    raise typer.Exit(asyncio.run(run(settings, sample=sample, port=settings.port)))


@app.command("api")
def serve_api(data: Data = None, port: Annotated[int | None, typer.Option(min=1, max=65535)] = None) -> None:
    """启动接口 · the HTTP API alone, for a cluster."""
    settings = _settings(data, port=port)
    house = _house(settings)
    schema.check(house.database)

    async def serve() -> None:
        Front.make_room()
        front = Front(house, await house.temporal())
        config = uvicorn.Config(
            api.build(front), host=settings.host, port=settings.port, log_config=None, access_log=False
        )
        await uvicorn.Server(config).serve()

    asyncio.run(serve())


@app.command()
def relay(data: Data = None) -> None:
    """启动投递 · carries submissions to the engine, for a cluster. Any number may run."""
    house = _house(_settings(data))
    schema.check(house.database)

    async def run() -> None:
        Front.make_room()
        await Front(house, await house.temporal()).relay.run()

    _until_stopped(run())


@app.command()
def migrate(data: Data = None) -> None:
    """升级台账结构（先备份） · bring the ledger to this release's schema, after a backup."""
    backup = schema.upgrade(House(_settings(data)).database)
    out.print(f"台账已是 {schema.head()} 版" + (f"，备份在 {backup}" if backup else ""))


@app.command("open")
def open_case(process: str, by: As, fields: Fields = None, source: Json = None, data: Data = None) -> None:
    """登记工单 · open a case: kefu open complaint --as oa-sh01 form_no=OA-1 kind=complaint …"""

    async def act(front: Front) -> Receipt:
        known = front.process(process)
        return await front.open(known, known.case.model_validate(_content(fields, source)), front.actor(by))

    _say_receipt(_with_front(data, act))


@app.command("hand-in")
def hand_in(
    case: str,
    form: str,
    by: As,
    fields: Fields = None,
    source: Json = None,
    task: Annotated[
        str | None, typer.Option(help="同一表单有几项待办时，写明哪一项 · which task, where several are open")
    ] = None,
    data: Data = None,
) -> None:
    """提交表单 · hand in a form: kefu hand-in CASE reply --as lin content=…"""

    async def act(front: Front) -> Receipt:
        name = case.rpartition("-")[0]
        if name not in PROCESSES:
            raise NotFound("no_such_case", case=case)
        process = front.process(name)
        if form not in process.submittable:
            raise SystemExit(f"{form}: 只能是 · must be one of {', '.join(process.submittable)}")
        content = process.submittable[form].model_validate(_content(fields, source))
        return await front.hand_in(process, case, content, front.actor(by), task)

    _say_receipt(_with_front(data, act))


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
    house = _house(_settings(data))
    schema.check(house.database)
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())

    async def act(front: Front) -> imports.ImportReport:
        with bar:
            reading = bar.add_task(file.name, total=None)
            return imports.run_import(
                front.process(process),
                file,
                mapping=_pairs(mapping, "--map"),
                fixed=_pairs(fixed, "--set"),
                by=front.actor(by),
                submissions=front.submissions,
                zone=house.calendar,
                progress=lambda done, total: bar.update(reading, completed=done, total=total),
            )

    code = 0
    try:
        report = _with_front(data, act)
    except CannotImport as error:
        raise SystemExit(str(error)) from error
    except (imports.ImportInterrupted, imports.ImportStopped) as broken:
        report, code = broken.report, 1
        print(broken, file=sys.stderr)
    print(imports.summary(report, house.settings.zone, LANGUAGE))
    raise typer.Exit(code)


@app.command()
def tasks(
    by: As,
    owner: Annotated[str | None, typer.Option(help="只看某人的 · one person's")] = None,
    state: str = "open",
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    data: Data = None,
) -> None:
    """待办列表 · tasks, the soonest due first."""

    async def act(front: Front) -> list[TaskView]:
        page = await front.look(front.actor(by), lambda views: views.tasks(owner=owner, state=state, limit=limit))
        return page.items

    _show_tasks(_with_front(data, act))


@app.command()
def show(case: str, by: As, data: Data = None, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """查看工单 · a case, its tasks and what happened."""

    async def act(front: Front) -> CaseView:
        return await front.look(front.actor(by), lambda views: views.case(case))

    view = _with_front(data, act)
    if as_json:
        print(view.model_dump_json(indent=2))
        return
    out.print(f"{_word('case')} {view.case}  {_word('number')} {view.number}  {_word(view.state)}", markup=False)
    _show_tasks(view.tasks, with_case=False)
    for sent in view.pending:
        out.print(
            f"{sent.recorded_at:%m-%d %H:%M}  {_form_word(sent.form)}  {sent.by}  {_word('processing')}", markup=False
        )
    for event in view.timeline:
        task = _form_word(event.task) if event.task else ""
        who = "" if event.kind == "owed" else event.by or event.data.get("person") or ""
        out.print(f"{event.at:%m-%d %H:%M}  {say('event', event.kind, LANGUAGE)} {task}  {who}", markup=False)


@app.command()
def inbox(by: As, limit: Annotated[int, typer.Option(min=1, max=200)] = 50, data: Data = None) -> None:
    """消息 · what you were told, the latest first."""

    async def act(front: Front) -> list[NoticeView]:
        page = await front.look(front.actor(by), lambda views: views.notices(language=LANGUAGE, limit=limit))
        return page.items

    found = _with_front(data, act)
    table = _table("at", "message", "case")
    for notice in found:
        table.add_row(f"{notice.created_at:%m-%d %H:%M}", notice.text, notice.case)
    out.print(table if found else _word("nothing"))


@app.command()
def cases(
    by: As,
    q: Annotated[str | None, typer.Option(help="单号或工单号 · a business number, or a case id")] = None,
    state: Annotated[str | None, typer.Option(help="open, archived")] = None,
    owner: Annotated[str | None, typer.Option(help="只看某人的 · one person's")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    data: Data = None,
) -> None:
    """工单列表 · cases, the soonest due first."""

    async def act(front: Front) -> list[CaseSummary]:
        actor = front.actor(by)
        page = await front.look(actor, lambda views: views.cases(q=q, state=state, owner=owner, limit=limit))
        return page.items

    found = _with_front(data, act)
    table = _table("number", "state", "due", "case")
    for case in found:
        due = f"{case.due_at:%Y-%m-%d %H:%M}" if case.due_at else ""
        table.add_row(case.number, _word(case.state), due, case.case)
    out.print(table if found else _word("nothing"))


def _show_tasks(found: list[TaskView], with_case: bool = True) -> None:
    table = _table("task", "owner", "due", "state", *(["case"] if with_case else []))
    for task in found:
        state = _word("overdue") if task.overdue and task.state == "open" else _word(task.state)
        if task.state == "open" and not task.possible:
            state += f" · {_word('not_possible')}"
        cells = [_form_word(task.task), task.owner, f"{task.due_at:%Y-%m-%d %H:%M}", state]
        table.add_row(*cells, *([task.case] if with_case else []))
    out.print(table if found else _word("nothing"))


def _table(*columns: str) -> Table:
    table = Table()
    for column in columns:
        table.add_column(_word(column), overflow="fold", no_wrap=column == "case")
    return table


def _form_word(task: str) -> str:
    form, _, nth = task.partition("-")
    return say("form", form, LANGUAGE) + (f"（{nth}）" if nth else "")


def _word(code: str) -> str:
    return say("screen", code, LANGUAGE)


def _say_receipt(receipt: Receipt) -> None:
    if receipt.refusal:
        raise SystemExit(say("refusal", receipt.refusal.code, LANGUAGE, **receipt.refusal.values))
    out.print(f"{receipt.case}  {_word('processing') if receipt.state == 'pending' else 'ok'}  {receipt.submission}")


# How a command reaches the house


def _settings(data: Path | None, **given: Any) -> Settings:
    configure_logs()
    values = {name: value for name, value in {"data": data, **given}.items() if value is not None}
    try:
        return Settings(**values)
    except ValidationError as error:
        reasons = (f"KEFU_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise SystemExit("\n".join(reasons)) from error


def _house(settings: Settings) -> House:
    """The house a command works in. Only `kefu up` and `kefu migrate` make a new one."""
    if settings.database_url is None and not (settings.data / "ledger.db").exists():
        raise SystemExit(say("up", "no_desk", LANGUAGE, data=settings.data.absolute()))
    house = House(settings)
    try:
        Front.check(house)
    except ValueError as error:  # people, policy, keys: each says which file and why
        raise SystemExit(str(error)) from error
    return house


async def _front(house: House) -> Front:
    return Front(house, await house.temporal())


def _with_front(data: Path | None, act: Any) -> Any:
    house = _house(_settings(data))
    schema.check(house.database)

    async def run() -> Any:
        return await act(await _front(house))

    return _run(run())


def _run(work: Awaitable[T]) -> T:
    """Do one thing; say a refusal as the API would."""

    async def done() -> T:
        return await work

    try:
        return asyncio.run(done())
    except Invalid as error:
        fields = (f"{e.field}: {say('field', e.code, LANGUAGE, **e.values)}" for e in error.errors)
        raise SystemExit("\n".join(fields)) from error
    except Refused as error:
        raise SystemExit(say("refusal", error.code, LANGUAGE, **error.values)) from error
    except ValidationError as error:
        fields = (
            " ".join((e["field"] + ":", e["reason"])) for e in (api.field_error(e, LANGUAGE) for e in error.errors())
        )
        raise SystemExit("\n".join(fields)) from error


def _until_stopped(work: Awaitable[None]) -> None:
    import signal

    async def run() -> None:
        task = asyncio.ensure_future(work)
        for signum in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signum, task.cancel)
        await asyncio.wait({task})

    asyncio.run(run())


def _content(fields: list[str] | None, source: Any) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.load(source) if source else {}
    except ValueError as error:
        raise SystemExit(f"{source.name}: {say('field', 'json_invalid', LANGUAGE)} ({error})") from error
    for field, value in _pairs(fields or [], "field").items():
        *path, last = field.split(".")
        place = content
        for step in path:
            place = place.setdefault(step, {})
        place[last] = value
    return content


def _pairs(given: str | list[str], what: str) -> dict[str, str]:
    items = [item for item in (given.split(",") if isinstance(given, str) else given) if item]
    for item in items:
        if "=" not in item:
            raise SystemExit(f"{what}: {item!r} 应写作 名=值 · must be name=value")
    return {name.strip(): value for name, _, value in (item.partition("=") for item in items)}


def main() -> NoReturn:
    """Run a command and leave at once: the engine's client may abort at interpreter exit after its work is done."""
    code: Any = 0
    try:
        app(standalone_mode=True)
    except SystemExit as leaving:
        code = leaving.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except schema.UnknownSchema as error:
        print(error, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    main()

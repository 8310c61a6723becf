"""Commands about members: files, pull and folder of the member system; one of them; the list of a day; how complete records come."""

import asyncio
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, cast

import structlog
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from models.people import Person
from models.words import label, say
from starter.commands.terminal import (
    LANGUAGE,
    As,
    Data,
    Interrupt,
    front_of,
    house_of,
    pairs_of,
    rest_of,
    settings_of,
    until_stopped,
    with_front,
)
from starter.commands.work import Cursor, Limit, say_line
from starter.front import Front
from starter.members import files
from starter.members.folder import take_folder
from starter.members.pull import FIRST_AT_MOST, Pulled, WholeRegister, pull_expiring, pull_news
from starter.members.said import said
from starter.members.shelf import Completenesses, Lines, MemberView, MemberViews, Period
from starter.members.sources import BadSource, SourceFailed, source_of
from starter.spreadsheets import imports
from starter.spreadsheets.sheets import CannotImport

app = typer.Typer()
members = typer.Typer(name="members", no_args_is_help=True, help="会员：导入、拉取、名单、首次完整率 · members")
app.add_typer(members)

log = structlog.get_logger()

EVERY = 60.0
"""Seconds between two looks into the folder, and two pulls."""


@members.command("import")
def import_members(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    by: As,
    purchases: Annotated[
        bool, typer.Option("--purchases", help="消费小票，而不是会员 · receipts, not members")
    ] = False,
    existing: Annotated[
        bool, typer.Option("--existing", help="上线前的会员：视为已审核，不通知任何人 · members before go-live")
    ] = False,
    mapping: Annotated[str, typer.Option("--map", help="列名=字段,… · header=field,…")] = "",
    fixed: Annotated[str, typer.Option("--set", help="字段=固定值,… · field=value,…")] = "",
    sheet: Annotated[str | None, typer.Option("--sheet", help="工作表 · the sheet of a workbook")] = None,
    data: Data = None,
) -> None:
    """从 Excel 或 CSV 批量收取会员或小票 · takes members or receipts from a file; run it again to go on."""
    if purchases and existing:
        raise SystemExit("--purchases --existing: 只能选一个 · one of them")
    front, person = _front(data, by)
    kind: files.Kind = "purchases" if purchases else "existing" if existing else "members"
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    code = 0
    try:
        with Progress(*columns) as bar, Interrupt() as ctrl_c:
            reading = bar.add_task(file.name, total=None)

            def progress(done: int, total: int) -> None:
                bar.update(reading, completed=done, total=total)
                ctrl_c.heard()

            report = files.take_file(
                front.house,
                front.audits,
                front.receipts,
                file,
                kind=kind,
                by=person,
                write=front.write_here,
                mapping=pairs_of(mapping, "--map"),
                fixed=pairs_of(fixed, "--set"),
                sheet=sheet,
                progress=progress,
                pause=ctrl_c.pause,
            )
    except CannotImport as error:
        raise SystemExit(error.said(LANGUAGE)) from error
    except (imports.ImportInterrupted, imports.ImportStopped) as broken:
        report, code = cast(files.FileReport, broken.report), 1
        print(broken.said(LANGUAGE), file=sys.stderr)
    print(files.summary(report, front.house.settings.zone, LANGUAGE))
    raise typer.Exit(code or int(report.rejected > 0))


def _front(data: Path | None, by: str) -> tuple[Front, Person]:
    async def meet(front: Front) -> tuple[Front, Person]:
        return front, front.actor(by)

    met: tuple[Front, Person] = with_front(data, meet)
    return met


@members.command()
def pull(
    by: As,
    month: Annotated[
        str | None, typer.Option(help="某月到期的会员，如 2027-02 · those whose card expires in a month")
    ] = None,
    existing: Annotated[
        bool,
        typer.Option("--existing", help="没见过的都是上线前的会员：不审核 · strangers were members before go-live"),
    ] = False,
    new: Annotated[
        bool, typer.Option("--new", help="没见过的都是新会员：要审核 · strangers are new, and are audited")
    ] = False,
    data: Data = None,
) -> None:
    """向会员系统拉取新增和变更的会员及消费 · asks the member system who is new or changed, and what was bought."""
    front, person = _front(data, by)
    if existing and new:
        raise SystemExit("--existing --new: 只能选一个 · one of them")
    if person.role not in files.MAY_BRING["existing" if existing or new else "members"]:
        raise SystemExit(say("refusal", "may_not_read", LANGUAGE))
    source = _source(front)
    bought = Pulled()
    try:
        if month:
            pulled = pull_expiring(front, source, month)
        else:
            pulled, bought = pull_news(front, source, "existing" if existing else "new" if new else "ask")
    except WholeRegister as error:
        raise SystemExit(say("import", "first_pull_waits", LANGUAGE, limit=FIRST_AT_MOST)) from error
    except SourceFailed as error:
        raise SystemExit(say("import", "source_failed", LANGUAGE, reason=error)) from error
    except ValueError as error:
        raise SystemExit(f"--month: {error}") from error
    say_line(say("import", "pulled", LANGUAGE, **pulled._asdict()))
    if any(bought):
        say_line(say("import", "receipts_pulled", LANGUAGE, **bought._asdict()))


def _source(front: Front) -> Any:
    file = front.house.settings.member_source
    if file is None:
        raise SystemExit(say("import", "no_source", LANGUAGE))
    try:
        return source_of(file)
    except BadSource as error:
        raise SystemExit(str(error)) from error


@members.command("watch")
def keep_taking(data: Data = None) -> None:
    """不断收取文件夹里的文件，并向会员系统拉取 · takes what comes into the folder, and asks the member system, again and again."""
    house = house_of(settings_of(data))

    async def run() -> None:
        front = await front_of(house)
        folder = house.settings.member_folder
        source = _source(front) if house.settings.member_source else None
        while True:
            if folder:
                await _whatever_happens("folder", take_folder, front, folder)
            if source:
                await _whatever_happens("pull", pull_news, front, source)
            await asyncio.sleep(EVERY)

    until_stopped(run())


async def _whatever_happens(what: str, act: Callable[..., Any], *arguments: Any) -> None:
    """What goes wrong in a round ends that round only; what it left is taken in the next one."""
    try:
        await asyncio.to_thread(act, *arguments)
    except Exception as error:  # its message may quote a record
        without_values = (RuntimeError, RuntimeError(type(error).__name__), error.__traceback__)
        log.error("members.round_failed", what=what, exc_info=without_values)


@members.command("show")
def show_member(member: str, by: As, data: Data = None) -> None:
    """一位会员 · a member, what is wanting, and who audited him."""

    async def act(front: Front) -> MemberView:
        return await front.look(front.actor(by), lambda views: MemberViews(views).member(member))

    _say_member(with_front(data, act))


def _say_member(view: MemberView) -> None:
    state = say("screen", f"member_{view.state}", LANGUAGE)
    say_line(f"{view.member}  {view.store}  {state}" + (f"  {view.audited_by}" if view.audited_by else ""))
    if view.findings:
        say_line(f"  {label('audit', 'findings', LANGUAGE)}: {said({'findings': view.findings}, LANGUAGE)}")
    for name, value in view.data.items():
        say_line(f"  {label('member', name, LANGUAGE)}: {value}")


@members.command("list")
def show_list(case: str, by: As, limit: Limit = 20, cursor: Cursor = None, data: Data = None) -> None:
    """当日新会员名单 · the lines of a day's list; then: kefu hand-in CASE check lines=N"""

    async def act(front: Front) -> Lines:
        def look(views: Any) -> Lines:
            return MemberViews(views).lines(views.find(case), limit=limit, cursor=cursor, language=LANGUAGE)

        return await front.look(front.actor(by), look)

    page: Lines = with_front(data, act)
    for line in page.items:
        name, phone = (line.data.get(field, "–") for field in ("name", "phone"))
        found = said({"findings": line.findings}, LANGUAGE)
        state = say("screen", f"line_{line.line}", LANGUAGE)
        say_line("  ".join(part for part in (line.member, line.store, state, name, phone, found) if part))
    say_line(page.hint or say("screen", "listed", LANGUAGE, listed=page.listed))
    rest_of(page)


@members.command()
def completeness(
    by: As,
    since: Annotated[str | None, typer.Option(help="从这一天 · from this day")] = None,
    until: Annotated[str | None, typer.Option(help="到这一天为止，不含 · to before this day")] = None,
    data: Data = None,
) -> None:
    """各店新会员资料的首次完整率 · how many records of each store were complete at the first audit. The last 30 days unless told otherwise."""

    async def act(front: Front) -> Completenesses:
        today = front.now().astimezone(front.house.calendar).date()
        try:
            end = date.fromisoformat(until) if until else today + timedelta(days=1)
            period = Period(since=date.fromisoformat(since) if since else end - timedelta(days=30), until=end)
        except ValueError as error:
            raise SystemExit("--since, --until: " + say("field", "period_empty", LANGUAGE)) from error
        return await front.look(front.actor(by), lambda views: MemberViews(views).completeness(period, LANGUAGE))

    found: Completenesses = with_front(data, act)
    for row in found.items:
        rate = "–" if row.rate is None else f"{row.rate:.1%}"
        values = row.model_dump(exclude={"rate", "name"}) | {"rate": rate, "called": row.name}
        say_line(say("screen", "completeness", LANGUAGE, **values))
    if found.hint:
        say_line(found.hint)

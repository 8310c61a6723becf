"""Commands for planned visits: a store's plan, a day's calls, the month at headquarters, the callback file, the calendar's days."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import TypeAdapter, ValidationError

from models.organisation import Who
from models.visits.facts import PlannedVisit
from models.visits.months import Month
from models.words import choice, say
from starter.commands.terminal import (
    LANGUAGE,
    As,
    Data,
    finished,
    front_of,
    house_of,
    out,
    pairs_of,
    rest_of,
    settings_of,
    table_of,
    with_front,
    word,
)
from starter.commands.work import Cursor, Fields, Json, Limit, content_of, filled, say_line
from starter.front import Front
from starter.refusals import Invalid, field_errors
from starter.visits import acts, days, papers, sheets
from starter.visits.callbacks import CallbackQuery, Callbacks, CallbackSearch, CallbackViews
from starter.visits.calls import CallSent, PutOff
from starter.visits.churned import Churned, ChurnedQuery, ChurnedViews
from starter.visits.headquarters import Remark
from starter.visits.monthbooks import MonthBooks, ReportView
from starter.visits.plans import PlanSent
from starter.visits.shown import ListQuery, Lists, MonthView, VisitQuery, Visits, VisitView, VisitViews, WholeVisit

app = typer.Typer()
group = typer.Typer(name="visits", no_args_is_help=True, help="回访：计划、名单、记录、汇总、月报 · planned visits")
app.add_typer(group)

OfMonth = Annotated[str, typer.Argument(metavar="MONTH", help="计划月份，如 2027-02 · a month")]
OfStore = Annotated[str, typer.Argument(metavar="STORE", help="门店代码 · a store")]
OfVisit = Annotated[str, typer.Argument(metavar="VISIT", help="回访编号 · a visit")]
Into = Annotated[Path | None, typer.Option("--file", dir_okay=False, help="写成 Excel · write a workbook")]


@group.command()
def template(
    month: OfMonth,
    store: OfStore,
    by: As,
    file: Annotated[Path | None, typer.Argument(dir_okay=False)] = None,
    data: Data = None,
) -> None:
    """计划表：已填好本店会员和近期购买 · a store's plan to fill in: kefu visits template 2027-02 SH01 --as oa-sh01"""

    async def act(front: Front) -> bytes:
        return await papers.plan_template(front, front.actor(by), _month(month), store, LANGUAGE)

    _keep(with_front(data, act), file or Path(f"{month}-{store}.xlsx"))


@group.command()
def plan(
    month: OfMonth,
    store: OfStore,
    by: As,
    file: Annotated[Path | None, typer.Argument(exists=True, dir_okay=False)] = None,
    nil: Annotated[bool, typer.Option("--nil", help="没有要回访的顾客 · nobody to visit")] = False,
    data: Data = None,
) -> None:
    """提交计划：填好的 Excel，或 --nil · hand a plan in: kefu visits plan 2027-02 SH01 plan.xlsx --as oa-sh01"""
    if (file is None) != nil:
        raise SystemExit(f"nil: {say('field', 'nil_or_lines', LANGUAGE)}")

    async def act(front: Front) -> Any:
        actor = front.actor(by)
        if file is None:
            return await acts.deliver_plan(front, actor, _month(month), store, PlanSent(nil=True))
        return await papers.deliver_workbook(front, actor, _month(month), store, file.read_bytes())

    delivered = _by_rows(data, act)
    version = delivered.version
    say_line(say("screen", "plan_taken", LANGUAGE, store=store, month=month, lines=version.lines, version=version.nth))


@group.command("list")
def list_visits(
    by: As,
    month: Annotated[str | None, typer.Option(help="月份 · a month")] = None,
    day: Annotated[str | None, typer.Option(help="日期 · a day")] = None,
    store: Annotated[str | None, typer.Option(help="门店 · a store")] = None,
    caller: Annotated[str | None, typer.Option(help="回访人 · whose")] = None,
    state: Annotated[Literal["planned", "held", "done", "dropped"] | None, typer.Option()] = None,
    what: Annotated[str | None, typer.Option(help="月报中某个数字背后的明细 · the lines behind a number")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    data: Data = None,
) -> None:
    """回访明细 · lines of plans, the soonest due first."""
    given = {"month": month, "day": day, "store": store, "caller": caller, "state": state, "what": what}

    async def act(front: Front) -> tuple[Visits, Who]:
        wanted = filled(VisitQuery, _said(given) | {"limit": limit, "cursor": cursor})
        found = await front.look(front.actor(by), lambda views: VisitViews(views).visits(wanted, LANGUAGE))
        return found, front.house.people

    found, people = with_front(data, act)
    table = table_of("visit", "day", "store", "caller", "customer", "purpose", "state", "flags")
    for one in found.items:
        table.add_row(*_cells(one, people))
    out.print(table if found.items else found.hint, markup=False)
    rest_of(found)


@group.command()
def lists(
    by: As,
    day: Annotated[str | None, typer.Option(help="日期 · a day")] = None,
    store: Annotated[str | None, typer.Option(help="门店 · a store")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    data: Data = None,
) -> None:
    """未完成的每日名单，各剩几人 · callers' lists that are open, and what is left of each."""

    async def act(front: Front) -> Lists:
        wanted = filled(ListQuery, _said({"day": day, "store": store}) | {"limit": limit, "cursor": cursor})
        return await front.look(front.actor(by), lambda views: VisitViews(views).lists(wanted, LANGUAGE))

    found = with_front(data, act)
    table = table_of("day", "store", "caller", "lines", "left", "state")
    for one in found.items:
        state = word("overdue") if one.overdue else word(one.state)
        table.add_row(str(one.day), one.store, one.caller, str(one.lines), str(one.left), state)
    out.print(table if found.items else found.hint, markup=False)
    rest_of(found)


@group.command("churned")
def list_churned(store: OfStore, by: As, limit: Limit = 50, cursor: Cursor = None, data: Data = None) -> None:
    """三个月以上没有购买的会员 · a store's members who have bought nothing for three months: kefu visits churned SH01"""

    async def act(front: Front) -> Churned:
        wanted = filled(ChurnedQuery, _said({"store": store, "limit": limit, "cursor": cursor}))
        return await front.look(front.actor(by), lambda views: ChurnedViews(views).churned(wanted, LANGUAGE))

    found = with_front(data, act)
    table = _table(["member_no", "customer", "phone", "bought_on"])
    for one in found.items:
        table.add_row(one.member_no or "", one.name or "", one.phone or "", str(one.bought_on or ""))
    out.print(table if found.items else found.hint, markup=False)
    rest_of(found)


@group.command()
def show(visit: OfVisit, by: As, data: Data = None) -> None:
    """一条回访和每次联系 · a line and its calls."""
    _show(with_front(data, lambda front: _visit(front, by, visit)))


@group.command()
def call(visit: OfVisit, by: As, fields: Fields = None, source: Json = None, data: Data = None) -> None:
    """回访记录 · what came of a call: kefu visits call VISIT --as oa-sh01 outcome=satisfied satisfaction=5"""

    async def act(front: Front) -> WholeVisit:
        await acts.call(front, front.actor(by), visit, filled(CallSent, content_of(fields, source)))
        return await _visit(front, by, visit)

    _show(with_front(data, act))


@group.command()
def hold(visit: OfVisit, by: As, data: Data = None) -> None:
    """暂缓：顾客有未结客诉 · hold a line back for an open complaint."""

    async def act(front: Front) -> WholeVisit:
        await acts.hold(front, front.actor(by), visit)
        return await _visit(front, by, visit)

    _show(with_front(data, act))


@group.command("put-off")
def put_off(
    visit: OfVisit,
    day: str,
    by: As,
    reason: Annotated[str | None, typer.Option(help="为什么改日 · why")] = None,
    data: Data = None,
) -> None:
    """改日 · another day for a line: kefu visits put-off VISIT 2027-02-10 --as oa-sh01 --reason 顾客出差"""

    async def act(front: Front) -> WholeVisit:
        await acts.put_off(front, front.actor(by), visit, filled(PutOff, _said({"day": day, "reason": reason})))
        return await _visit(front, by, visit)

    _show(with_front(data, act))


@group.command()
def month(name: OfMonth, by: As, file: Into = None, data: Data = None) -> None:
    """各店计划交了没有；--file 写出汇总表 · which stores delivered; --file: the plans in one workbook."""

    async def act(front: Front) -> tuple[MonthView, bytes | None]:
        actor, wanted = front.actor(by), _month(name)
        view = await front.look(actor, lambda views: VisitViews(views).month(wanted))
        made = (
            await front.look(actor, lambda views: MonthBooks(views).plan_workbook(wanted, LANGUAGE)) if file else None
        )
        return view, made

    view, made = with_front(data, act)
    _say_month(view)
    if made and file:
        _keep(made, file)


@group.command()
def consolidate(name: OfMonth, by: As, remark: str | None = None, data: Data = None) -> None:
    """汇总存档 · make one plan of the stores'."""

    async def act(front: Front) -> MonthView:
        await acts.consolidate(front, front.actor(by), _month(name), Remark(remark=remark))
        return await front.look(front.actor(by), lambda views: VisitViews(views).month(name))

    _say_month(with_front(data, act))


@group.command()
def report(
    name: OfMonth,
    by: As,
    hand_in: Annotated[
        bool, typer.Option("--hand-in", help="结束本月并提交月报 · close the month and report it")
    ] = False,
    remark: str | None = None,
    file: Into = None,
    data: Data = None,
) -> None:
    """回访月报 · the month's figures; --file with the lines behind them; --hand-in to the manager."""

    async def act(front: Front) -> tuple[ReportView, bytes | None]:
        actor, wanted = front.actor(by), _month(name)
        if hand_in:
            await acts.report(front, actor, wanted, Remark(remark=remark))
        found = await front.look(actor, lambda views: MonthBooks(views).report(wanted))
        made = (
            await front.look(actor, lambda views: MonthBooks(views).report_workbook(wanted, LANGUAGE)) if file else None
        )
        return found, made

    found, made = with_front(data, act)
    columns = ("planned", "done", "on_time", "reached", "problems", "complaints", "held", "left")
    table = _table(["store", *columns, "satisfaction"])
    for one in found.figures:
        counts = (str(one.counts[column]) for column in columns)
        table.add_row(one.name or say("visit", "all", LANGUAGE), *counts, str(one.satisfaction or ""))
    out.print(table)
    _say_plans(found)
    if made and file:
        _keep(made, file)


@app.command()
def callbacks(
    by: As,
    phone: Annotated[str | None, typer.Option(help="电话 · phone number")] = None,
    card: Annotated[str | None, typer.Option(help="会员卡号 · membership card")] = None,
    kind: Annotated[
        Literal["callback", "visit"] | None, typer.Option(help="投诉回访或计划回访 · after a complaint, or planned")
    ] = None,
    region: Annotated[str | None, typer.Option(help="区域 · a region")] = None,
    store: Annotated[str | None, typer.Option(help="门店 · a store")] = None,
    caller: Annotated[str | None, typer.Option(help="回访人 · who called")] = None,
    since: Annotated[str | None, typer.Option(help="从这一天 · from this day")] = None,
    until: Annotated[str | None, typer.Option(help="到这一天（不含）· to this day, excluded")] = None,
    outcome: Annotated[str | None, typer.Option(help="结果 · the outcome")] = None,
    file: Into = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    data: Data = None,
) -> None:
    """回访档案：投诉回访和计划回访 · every complaint callback and every visit, the latest first."""
    given = _said({"kind": kind, "region": region, "store": store, "caller": caller, "outcome": outcome})
    given |= _said({"since": since, "until": until})

    async def act(front: Front) -> tuple[Callbacks, bytes | None]:
        actor, page = front.actor(by), {"limit": limit, "cursor": cursor}
        wanted, number = filled(CallbackQuery, given | page), None
        if phone or card:
            number = filled(CallbackSearch, _said({"phone": phone, "card": card})).number
        found = await front.look(actor, lambda views: CallbackViews(views).callbacks(wanted, number, LANGUAGE))
        if file is None:
            return found, None
        return found, await front.look(actor, lambda views: CallbackViews(views).workbook(wanted, number, LANGUAGE))

    found, made = with_front(data, act)
    table = _table(["at", "kind", "store", "by", "customer", "outcome", "satisfaction", "id"])
    for one in found.items:
        which = say("visit", f"kind_{one.kind}", LANGUAGE)
        how = choice("callback", "outcome", one.outcome, LANGUAGE)
        cells = (f"{one.at:%Y-%m-%d %H:%M}", which, one.store or "", one.by, one.customer.get("name", ""), how)
        table.add_row(*cells, str(one.satisfaction or ""), one.id)
    out.print(table if found.items else found.hint, markup=False)
    rest_of(found)
    if made and file:
        _keep(made, file)


@app.command("days")
def show_days(
    year: int,
    by: As,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="日期=work|off|-（恢复）· day=work|off|- (as its weekday says)")
    ] = None,
    why: Annotated[str | None, typer.Option(help="为什么改，与 --set 一起写 · why, with --set")] = None,
    data: Data = None,
) -> None:
    """工作日历 · days off and days worked in their place: kefu days 2027 --as wang --set 2027-02-13=work --why 国办通知"""

    if changes and not why:
        raise SystemExit(f"--why: {say('field', 'why_missing', LANGUAGE)}")

    async def act(front: Front) -> days.YearView:
        actor = front.actor(by)
        if changes:
            shown = await front.look(actor, lambda views: days.year_view(views.session, year))
            sent = filled(days.DaysSent, {"revision": shown.revision, "days": _changed(changes), "why": why})
            await front.write(lambda session, now: days.change(session, now, actor, year, sent))
        return await front.look(actor, lambda views: days.year_view(views.session, year))

    view = with_front(data, act)
    say_line(say("screen", "revision", LANGUAGE, year=year, revision=view.revision))
    for one in view.days:
        mark = word("provisional") if one.provisional else ""
        say_line(f"{one.day} {word('working_day' if one.working else 'day_off')} {one.name}{mark}")


def _changed(changes: list[str]) -> list[dict[str, Any]]:
    said = {"work": True, "off": False, "-": None}
    pairs = pairs_of(changes, "--set")
    if unknown := set(pairs.values()) - said.keys():
        raise SystemExit(
            f"--set: {say('field', 'literal_error', LANGUAGE, expected=', '.join(said))} ({', '.join(unknown)})"
        )
    return [{"day": day, "working": said[value]} for day, value in pairs.items()]


# How it is read and shown


def _month(text: str) -> Month:
    try:
        return TypeAdapter(Month).validate_python(text)
    except ValidationError as error:
        raise Invalid(field_errors([{**one, "loc": ("month",)} for one in error.errors()])) from error


def _said(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _by_rows(data: Path | None, act: Any) -> Any:
    """As `with_front`; what is wrong with a workbook is said by its rows and columns."""
    house = house_of(settings_of(data))

    async def run() -> Any:
        try:
            return await act(await front_of(house))
        except Invalid as error:
            raise SystemExit("\n".join(sheets.in_words(error, LANGUAGE))) from error

    return finished(run())


async def _visit(front: Front, by: str, visit: str) -> WholeVisit:
    return await front.look(front.actor(by), lambda views: VisitViews(views).visit(visit))


def _keep(content: bytes, file: Path) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        raise SystemExit(say("template", "not_written", LANGUAGE, path=file, reason=error.strerror)) from error
    say_line(say("template", "written", LANGUAGE, path=file))


def _table(columns: list[str]) -> Any:
    table = table_of()
    for column in columns:
        table.add_column(say("visit", column, LANGUAGE), overflow="fold")
    return table


def _cells(one: VisitView, people: Who) -> list[str]:
    state = word("overdue") if one.overdue else _state(one)
    purpose = choice("visit_line", "purpose", one.purpose, LANGUAGE)
    flags = " ".join(word("gone" if flag == "left" else flag) for flag in one.flags)
    name = str(one.line.get("name", ""))
    return [one.visit, str(one.due_on), one.store, people.name(one.caller), name, purpose, state, flags]


def _state(one: VisitView) -> str:
    if one.outcome:
        return choice("callback", "outcome", one.outcome, LANGUAGE)
    return say("visit", {"dropped": "taken_out"}.get(one.state, one.state), LANGUAGE)


def _show(one: WholeVisit) -> None:
    say_line(f"{word('visit')} {one.visit}  {one.store}  {one.due_on}  {_state(one)}")
    for field in PlannedVisit.model_fields:
        if said := one.line.get(field):
            say_line(f"  {sheets.label_of(field, LANGUAGE)}: {choice('visit_line', field, str(said), LANGUAGE)}")
    for sent in one.calls:
        say_line(f"{sent.at:%m-%d %H:%M}  {sent.by}  {choice('callback', 'outcome', sent.outcome, LANGUAGE)}")
    for move in one.moves:
        say_line(f"{move.at:%m-%d %H:%M}  {move.by}  {word('put_off')} {move.day}  {move.reason or ''}".rstrip())
    if one.complaint:
        say_line(say("screen", "became", LANGUAGE, complaint=one.complaint))


def _say_plans(report: ReportView) -> None:
    said = {state: [one.store for one in report.plans if one.state == state] for state in ("missing", "nil")}
    said["late"] = [one.store for one in report.plans if one.late]
    say_line(
        say("screen", "plans_not_in", LANGUAGE, **{name: " ".join(stores) or "0" for name, stores in said.items()})
    )


def _say_month(view: MonthView) -> None:
    said = {"delivered": len(view.delivered), "missing": " ".join(view.missing) or "0", "lines": view.lines}
    say_line(say("screen", "month_state", LANGUAGE, month=view.month, incomplete=len(view.incomplete), **said))

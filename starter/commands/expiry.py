"""Commands for expiring members: a month's list, its archived workbook, and what to say on the telephone."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from models.words import choice, say
from starter.commands.terminal import LANGUAGE, As, Data, out, rest_of, with_front, word
from starter.commands.work import Cursor, Limit, Name, filled, say_line
from starter.expiry.views import ExpiryPage, ExpiryQuery, ExpiryViews
from starter.front import Front

app = typer.Typer()

COLUMNS = ("nth", "name", "phone", "store", "valid_through", "purchases", "spend", "state", "outcome", "case")


@app.command("expiry")
def show_month(
    by: As,
    month: Annotated[
        str | None, typer.Argument(help="到期月份，如 2027-01 · the month in which the cards expire")
    ] = None,
    store: Annotated[str | None, typer.Option(help="门店代码 · a store")] = None,
    region: Annotated[str | None, typer.Option(help="区域 · a region")] = None,
    state: Annotated[str | None, typer.Option(help="to_call, called, ended")] = None,
    waived: Annotated[bool, typer.Option("--waived", help="已免年费者 · those who have earned the waiver")] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="不等会员系统，按现有资料生成 · make it of what is known (the manager)")
    ] = False,
    excel: Annotated[Path | None, typer.Option(help="把归档的名单写入文件 · write the archived workbook")] = None,
    calls: Annotated[
        bool,
        typer.Option("--calls", help="与 --excel 同用：带上至今的去电情况 · with --excel: with the calls until now"),
    ] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    data: Data = None,
) -> None:
    """到期会员名单 · a month's expiring members and their calls: kefu expiry 2027-01"""
    if anyway and month is None:
        raise SystemExit(say("refusal", "anyway_which_month", LANGUAGE))

    async def act(front: Front) -> Any:
        actor = front.actor(by)
        if anyway and month:
            front.expiry_lists.make_anyway(month, actor)
            return say("screen", "made_anyway", LANGUAGE, month=month)
        if month is None:
            part = {"limit": limit, "cursor": cursor}
            return await front.look(actor, lambda views: ExpiryViews(views).months(**part))  # type: ignore[arg-type]
        if excel:

            def book(views: Any) -> bytes:
                seen = ExpiryViews(views)
                return seen.with_calls(month, LANGUAGE) if calls else seen.archived(month)

            return await front.look(actor, book)
        given = {"store": store, "region": region, "state": state, "cursor": cursor}
        wanted = filled(
            ExpiryQuery, {name: value for name, value in given.items() if value} | {"waived": waived, "limit": limit}
        )
        return await front.look(
            actor, lambda views: ExpiryViews(views).members(month, **dict(wanted), language=LANGUAGE)
        )

    found = with_front(data, act)
    if isinstance(found, str):
        say_line(found)
    elif isinstance(found, bytes):
        assert excel
        with os.fdopen(os.open(excel, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(found)
        out.print(say("screen", "file_written", LANGUAGE, file=excel), markup=False)
    elif isinstance(found, ExpiryPage):
        _show(found)
    else:
        for each in found.items:
            ends = "  ".join(f"{_because(code)} {n}" for code, n in each.ended.items())
            say_line(
                f"{each.month}  {say('expiry', 'listed', LANGUAGE)} {each.listed}  {say('expiry', 'waived', LANGUAGE)} "
                f"{each.waived}  {word('to_call')} {each.to_call}  {word('called')} {each.called}  {ends}"
            )
            if each.made_anyway_by:
                say_line(f"  {say('expiry', 'made_anyway', LANGUAGE)}: {each.made_anyway_by}")
        if not found.items:
            out.print(word("nothing"))
        rest_of(found)


@app.command()
def script(case: Name, by: As, data: Data = None) -> None:
    """电话要点 · what to tell the member of a notice, by what he has bought until now."""

    async def act(front: Front) -> Any:
        actor = front.actor(by)

        def look(views: Any) -> Any:
            return ExpiryViews(views).script(views.find(case), LANGUAGE)

        return await front.look(actor, look)

    found = with_front(data, act)
    say_line(f"{found.number}  {found.phone or '–'}")
    say_line(found.text)


def _show(page: ExpiryPage) -> None:
    said = {"title": page.title, "as_of": f"{page.as_of:%Y-%m-%d %H:%M}", "listed": page.listed, "waived": page.waived}
    say_line(say("screen", "month_list", LANGUAGE, **said))
    if page.made_anyway_by:
        say_line(f"{say('expiry', 'made_anyway', LANGUAGE)}: {page.made_anyway_by}")
    table = Table()
    for column in COLUMNS:
        table.add_column(say("expiry", column, LANGUAGE), overflow="fold", no_wrap=column == "case")
    for line in page.items:
        cells = line.model_dump(mode="json")
        cells["state"] = word(line.state) if line.state else ""
        cells["outcome"] = " ".join(
            filter(
                None,
                (
                    choice("call", "outcome", line.outcome, LANGUAGE) if line.outcome else "",
                    _because(line.closed_because) if line.closed_because else "",
                ),
            )
        )
        table.add_row(*(str(cells[column] if cells[column] is not None else "") for column in COLUMNS))
    out.print(table if page.items else word("nothing"), markup=False)
    rest_of(page)


def _because(code: str) -> str:
    return choice("settled", "because", code, LANGUAGE)

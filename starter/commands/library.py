"""Commands for what is known already: the case library, the agenda of the Friday meeting, a customer's other cases, and what is erased of him."""

from functools import partial
from typing import Annotated, Any, Literal

import typer

from models.organisation import Who
from models.words import say
from starter import erasure
from starter.commands.terminal import LANGUAGE, As, Data, out, rest_of, table_of, with_front, word
from starter.commands.work import Cursor, Limit, filled, say_line, title_of
from starter.customers import Found, Wanted, search
from starter.erasure import Because, CustomerErasure, Erased, Erasure
from starter.front import Front
from starter.library.shelf import Agenda, Entries, EntryView, LibraryViews, WholeEntry

app = typer.Typer()


@app.command()
def library(
    by: As,
    q: Annotated[str | None, typer.Argument(metavar="[WORDS]", help="要找的词，两个字即可 · what to look for")] = None,
    tag: Annotated[str | None, typer.Option(help="标签 · a tag")] = None,
    entry: Annotated[int | None, typer.Option(min=1, help="看编号为此的案例全文 · the whole of one entry")] = None,
    sort: Annotated[Literal["best", "latest"], typer.Option(help="最贴切或最新的在前 · what comes first")] = "best",
    limit: Limit = 20,
    cursor: Cursor = None,
    data: Data = None,
) -> None:
    """案例资料库 · looks for cases that were solved: kefu library 褪色"""

    async def act(front: Front) -> tuple[Entries | WholeEntry, Who]:
        def look(views: Any) -> Entries | WholeEntry:
            shelves = LibraryViews(views)
            if entry:
                return shelves.entry(entry)
            return shelves.entries(q=q, tag=tag, sort=sort, limit=limit, cursor=cursor, language=LANGUAGE)

        return await front.look(front.actor(by), look), front.house.people

    found, people = with_front(data, act)
    if isinstance(found, WholeEntry):
        _show(found, people)
        return
    table = table_of("entry", "title", "tags", "author", "at")
    for one in found.items:
        table.add_row(*_cells_of(one, people))
    out.print(table if found.items else found.hint, markup=False)
    rest_of(found)


@app.command()
def agenda(by: As, limit: Limit = 50, cursor: Cursor = None, data: Data = None) -> None:
    """周五例会的议题 · what waits for the Friday meeting."""

    async def act(front: Front) -> tuple[Agenda, Who]:
        def look(views: Any) -> Agenda:
            return LibraryViews(views).agenda(limit=limit, cursor=cursor, language=LANGUAGE)

        return await front.look(front.actor(by), look), front.house.people

    found, people = with_front(data, act)
    say_line(say("screen", "meeting", LANGUAGE, day=found.meeting))
    table = table_of("entry", "title", "tags", "author", "at", "carried_over")
    for one in found.items:
        table.add_row(*_cells_of(one, people), f"{one.marked_at:%m-%d}" if one.carried_over else "")
    out.print(table if found.items else found.hint, markup=False)
    rest_of(found)


@app.command()
def customer(
    by: As,
    phone: Annotated[str | None, typer.Option(help="电话 · phone number")] = None,
    card: Annotated[str | None, typer.Option(help="会员卡号 · membership card")] = None,
    receipt: Annotated[str | None, typer.Option(help="小票号 · receipt number")] = None,
    email: Annotated[str | None, typer.Option(help="邮箱 · e-mail address")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    data: Data = None,
) -> None:
    """查找顾客的工单 · a customer's cases, by exactly one number: kefu customer --phone 138-0000-0001"""
    given = {"phone": phone, "card": card, "receipt": receipt, "email": email}

    async def act(front: Front) -> tuple[Found, Who]:
        wanted = filled(Wanted, {name: value for name, value in given.items() if value is not None} | page)
        return await search(front, front.actor(by), wanted, LANGUAGE), front.house.people

    page = {"limit": limit, "cursor": cursor}
    found, people = with_front(data, act)
    table = table_of("number", "title", "state", "at", "case")
    for case in found.items:
        table.add_row(case.number, title_of(case, people), word(case.state), f"{case.opened_at:%Y-%m-%d}", case.case)
    out.print(table if found.items else found.hint, markup=False)
    rest_of(found)


@app.command()
def erase(
    by: As,
    because: Annotated[Because, typer.Option(help="为什么删除 · why")],
    case: Annotated[str | None, typer.Argument(help="已结案的客诉单 · a closed complaint, by id or number")] = None,
    phone: Annotated[str | None, typer.Option(help="电话 · phone number")] = None,
    card: Annotated[str | None, typer.Option(help="会员卡号 · membership card")] = None,
    receipt: Annotated[str | None, typer.Option(help="小票号 · receipt number")] = None,
    email: Annotated[str | None, typer.Option(help="邮箱 · e-mail address")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="不再询问 · do not ask")] = False,
    data: Data = None,
) -> None:
    """删除个人信息 · erase what is personal of a closed complaint, or of a customer's: kefu erase --phone 138-0000-0001 --because customer_request"""
    given = {"phone": phone, "card": card, "receipt": receipt, "email": email}
    given = {name: value for name, value in given.items() if value is not None}
    if bool(case) == bool(given):
        raise typer.BadParameter("CASE | --phone | --card | --receipt | --email")

    async def act(front: Front, preview: bool) -> Erased:
        asked: dict[str, Any] = {"because": because, "preview": preview}
        actor = front.actor(by)
        if case:
            found = await front.look(actor, lambda views: views.find(case))
            return await erasure.erase(front, actor, found, filled(Erasure, asked), LANGUAGE)
        return await erasure.erase_customer(front, actor, filled(CustomerErasure, asked | given), LANGUAGE)

    if not yes:
        _say_erased(with_front(data, partial(act, preview=True)))
        typer.confirm(word("erase_sure"), abort=True)
    _say_erased(with_front(data, partial(act, preview=False)))


def _say_erased(erased: Erased) -> None:
    say_line(word("erase_would" if erased.preview else "erase_done"))
    for one in erased.cases:
        what = "erased_not" if one.state == "open" else "erased_case" if one.forms else "erased_before"
        say_line("  " + say("screen", what, LANGUAGE, **one.model_dump(), at=one.erased_at))
    if erased.visits:
        say_line("  " + say("screen", "erased_visits", LANGUAGE, visits=erased.visits))
    for hint in erased.hints:
        say_line(hint)


def _cells_of(entry: EntryView, people: Who) -> list[str]:
    tags = " ".join(entry.tags)
    return [str(entry.entry), entry.title, tags, people.name(entry.author), f"{entry.changed_at:%Y-%m-%d}"]


def _show(entry: WholeEntry, people: Who) -> None:
    say_line(f"{word('entry')} {entry.entry}  {entry.title}  {word('number')} {entry.number}")
    say_line(f"  {word('tags')}: {' '.join(entry.tags)}")
    for part in ("problem", "solution"):
        say_line(f"  {word(part)}: {getattr(entry, part)}")
    if entry.removed_at:
        say_line(f"  {say('screen', 'removed', LANGUAGE)}: {entry.removed_because}")
    for version in entry.changes:
        what = say("screen", version.what, LANGUAGE)
        say_line(f"{version.at:%m-%d %H:%M}  {what}  {people.name(version.by)}")

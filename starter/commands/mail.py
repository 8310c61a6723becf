"""Commands for letters, and for answers kept ready."""

from typing import Annotated, Any, Literal

import typer

from starter.commands.terminal import As, Data, out, rest_of, table_of, with_front, word
from starter.commands.work import Cursor, Fields, Limit, content_of, filled, say_line
from starter.front import Front
from starter.mail.answers import AnswerView, AnswerViews, ChangedAnswer, NewAnswer, add, change, remove
from starter.mail.shown import LetterLine, LetterView, LetterViews
from starter.pages import Page

app = typer.Typer()
answers = typer.Typer(help="答复模板 · answers kept ready")

Id = Annotated[int, typer.Argument(min=1, help="模板编号 · the answer's number")]


@app.command()
def letters(
    by: As,
    case: Annotated[
        str | None, typer.Argument(metavar="[CASE]", help="工单编号或单号；不写则列出全部 · of one case, whole")
    ] = None,
    state: Annotated[Literal["in", "waiting", "delivered", "undeliverable", "bounced"] | None, typer.Option()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    data: Data = None,
) -> None:
    """来往邮件 · the letters of a case, or all of them."""

    async def act(front: Front) -> list[LetterView] | Page[LetterLine]:
        def look(views: Any) -> list[LetterView] | Page[LetterLine]:
            if case:
                return LetterViews(views).of(views.find(case))
            return LetterViews(views).letters(state=state, limit=limit, cursor=cursor)

        return await front.look(front.actor(by), look)

    found = with_front(data, act)
    if isinstance(found, Page):
        table = table_of("at", "number", "letter", "state", "failed", "case")
        for line in found.items:
            shown = (line.number or "", word(f"letter_{line.what}"), word(line.state), line.failed or "")
            table.add_row(f"{line.at:%m-%d %H:%M}", *shown, line.case or "")
        out.print(table if found.items else word("nothing"))
        rest_of(found)
        return
    for letter in found:
        state_of = word(letter.state) if not letter.came else ""
        say_line(f"{letter.at:%m-%d %H:%M}  {word(f'letter_{letter.what}')}  {letter.address or ''}  {state_of}")
        say_line(f"    {letter.subject or ''}\n    " + (letter.text or "").replace("\n", "\n    "))
        for file in letter.left:
            say_line(f"    {word('left')}: {file['name']} ({file['why']})")
    if not found:
        out.print(word("nothing"))


@answers.command("list")
def list_answers(
    by: As,
    case: Annotated[str | None, typer.Option(help="填入这一单的内容 · filled in for a case")] = None,
    category: Annotated[str | None, typer.Option(help="问题类别 · of a category")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    data: Data = None,
) -> None:
    """列出答复模板 · the answers there are."""

    async def act(front: Front) -> Page[AnswerView]:
        def look(views: Any) -> Page[AnswerView]:
            which = views.find(case) if case else None
            return AnswerViews(views).answers(category=category, case=which, limit=limit, cursor=cursor)

        return await front.look(front.actor(by), look)

    page = with_front(data, act)
    for one in page.items:
        say_line(f"{one.id}  {one.title}  {one.category or ''}  {word('version')} {one.version}")
        say_line("    " + one.text.replace("\n", "\n    "))
    if not page.items:
        out.print(word("nothing"))
    rest_of(page)


@answers.command("add")
def add_answer(by: As, fields: Fields = None, data: Data = None) -> None:
    """新增 · keep one: kefu answers add --as wang category=起球 title=起球致歉 text=…{number}…"""

    async def act(front: Front) -> int:
        actor, new = front.actor(by), filled(NewAnswer, content_of(fields, None))
        return await front.write(lambda session, now: add(session, now, actor, new))

    out.print(with_front(data, act))


@answers.command("change")
def change_answer(answer: Id, by: As, fields: Fields = None, data: Data = None) -> None:
    """修改 · change one: what is not given stays."""

    async def act(front: Front) -> int:
        actor = front.actor(by)
        known = await front.look(actor, lambda views: AnswerViews(views).answer(answer))
        content = known.model_dump(include={"category", "form", "title", "text", "version"}, exclude_none=True)
        changed = filled(ChangedAnswer, {**content, **content_of(fields, None)})
        return await front.write(lambda session, now: change(session, now, actor, answer, changed))

    with_front(data, act)
    out.print("ok")


@answers.command("remove")
def remove_answer(answer: Id, by: As, data: Data = None) -> None:
    """移除 · take one away."""

    async def act(front: Front) -> None:
        actor = front.actor(by)
        await front.write(lambda session, now: remove(session, now, actor, answer))

    with_front(data, act)
    out.print("ok")

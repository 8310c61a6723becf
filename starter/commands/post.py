"""`kefu post`: what is told goes out over channels; and how that stands."""

from typing import Annotated

import typer

from activities import schema
from starter.commands.terminal import (
    As,
    Data,
    house_of,
    out,
    rest_of,
    settings_of,
    table_of,
    until_stopped,
    with_front,
    word,
)
from starter.commands.work import Cursor, Limit
from starter.front import Front
from starter.pages import Page
from starter.post.room import keep_open
from starter.post.status import PostLine, PostViews

app = typer.Typer(
    invoke_without_command=True,
    help="收发室：外发消息、收发邮件 · the post room, part of `kefu up`; for a cluster. Any number may run.",
)


@app.callback()
def post(context: typer.Context, data: Data = None) -> None:
    """收发室：外发消息、收发邮件 · sends what people are told, reads and answers mail, for a cluster. Any number may run."""
    if context.invoked_subcommand:
        return
    house = house_of(settings_of(data))
    schema.check(house.database)
    until_stopped(keep_open(house))


@app.command()
def status(
    by: As,
    person: Annotated[str | None, typer.Option(help="只看某人的 · one person's")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    data: Data = None,
) -> None:
    """各人各渠道的送达情况 · how everybody is reached, and what waits."""

    async def act(front: Front) -> Page[PostLine]:
        return await front.look(
            front.actor(by), lambda views: PostViews(views).post(person=person, limit=limit, cursor=cursor)
        )

    page = with_front(data, act)
    table = table_of("person", "channel", "waiting", "delivered", "undeliverable", "last_delivered", "failed")
    for line in page.items:
        last = f"{line.last_delivered_at:%m-%d %H:%M}" if line.last_delivered_at else ""
        counts = (str(line.waiting), str(line.delivered), str(line.undeliverable))
        table.add_row(line.name, line.channel or word("inbox"), *counts, last, line.failed or "")
    out.print(table if page.items else word("nothing"))
    rest_of(page)

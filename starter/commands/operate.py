"""The engineer's commands: what runs the desk, and what looks after it."""

import asyncio
from typing import Annotated

import typer
import uvicorn
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from activities import schema
from models.words import say
from settings import House
from starter import api, customers
from starter.commands.terminal import LANGUAGE, Data, house_of, out, settings_of, until_stopped
from starter.front import Front
from starter.reseal import reseal
from starter.watching.watch import watch

app = typer.Typer()


@app.command()
def up(
    data: Data = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65533, help="端口，另占用其后两个 · the API's port; takes the next two as well"),
    ] = None,
    sample: Annotated[bool, typer.Option("--sample", help="装入样例 · with a made-up day of submissions")] = False,
) -> None:
    """在一台机器上启动全部 · everything on one machine: engine, worker, relay, watch, post, API."""
    from starter.machine.up import up as run

    settings = settings_of(data, port=port)
    raise typer.Exit(asyncio.run(run(settings, sample=sample, port=settings.port)))


@app.command("api")
def serve_api(data: Data = None, port: Annotated[int | None, typer.Option(min=1, max=65535)] = None) -> None:
    """启动接口 · the HTTP API alone, for a cluster."""
    settings = settings_of(data, port=port)
    house = house_of(settings)
    schema.check(house.database)

    async def serve() -> None:
        Front.make_room()
        front = Front(house, await house.temporal())
        await asyncio.to_thread(front.attachments.sweep)
        config = uvicorn.Config(
            api.build(front), host=settings.host, port=settings.port, log_config=None, access_log=False
        )
        await uvicorn.Server(config).serve()

    asyncio.run(serve())


@app.command()
def relay(data: Data = None) -> None:
    """启动投递 · carries submissions to the engine, for a cluster. Any number may run."""
    house = house_of(settings_of(data))
    schema.check(house.database)

    async def run() -> None:
        Front.make_room()
        await Front(house, await house.temporal()).relay.run()

    until_stopped(run())


@app.command("watch")
def keep_watch(data: Data = None) -> None:
    """守望 · tells the administrator what should have happened and has not; puts right what it can. For a cluster."""
    house = house_of(settings_of(data))
    schema.check(house.database)

    async def run() -> None:
        Front.make_room()
        front = Front(house, await house.temporal())
        others = [*front.watches, front.post_watch, front.canary_watch, front.bell]
        await watch(front.watchdog, front.reconciler, others)

    until_stopped(run())


@app.command()
def migrate(data: Data = None) -> None:
    """升级台账结构（先备份） · bring the ledger to this release's schema, after a backup."""
    house = House(settings_of(data))
    made = house.make_keys()
    backup = schema.upgrade(house.database)
    out.print(say("up", "migrated", LANGUAGE, head=schema.head()))
    if backup:
        out.print(say("up", "backed_up", LANGUAGE, path=backup))
    if made:
        out.print(say("up", "key_made", LANGUAGE, file=made))
    try:
        if noted := customers.fill(house.database, house.keys):
            out.print(say("up", "customers_noted", LANGUAGE, cases=noted))
    except ValueError as error:  # no keys here: says where they should be; the schema is this release's all the same
        raise SystemExit(str(error)) from error


@app.command("reseal")
def turn_over(data: Data = None) -> None:
    """用第一个密钥重新加密台账 · turn the ledger over to the first key, while everything runs; run it again to go on."""
    house = house_of(settings_of(data))
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        turning = bar.add_task("reseal", total=None)
        report = reseal(house, lambda done, total: bar.update(turning, completed=done, total=total))
    out.print(say("up", "resealed", LANGUAGE, turned=report.turned, key=house.keys.writing), markup=False)
    for key, need in report.others.items():
        values = need.values if need else {}
        out.print(say("up", "key_needed" if need else "key_free", LANGUAGE, key=key, **values), markup=False)
    if report.unreadable:
        raise SystemExit(say("up", "not_resealed", LANGUAGE, cases=", ".join(report.unreadable)))

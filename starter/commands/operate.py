"""The engineer's commands: what runs the desk, and what looks after it."""

import asyncio
from typing import Annotated

import typer
import uvicorn

from activities import schema
from settings import House
from starter import api
from starter.commands.terminal import Data, house_of, out, settings_of, until_stopped
from starter.front import Front

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
    """在一台机器上启动全部 · everything on one machine: engine, worker, relay, API."""
    from starter.up import up as run

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


@app.command()
def migrate(data: Data = None) -> None:
    """升级台账结构（先备份） · bring the ledger to this release's schema, after a backup."""
    backup = schema.upgrade(House(settings_of(data)).database)
    out.print(f"台账已是 {schema.head()} 版" + (f"，备份在 {backup}" if backup else ""))

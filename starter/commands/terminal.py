"""What the commands share: how they reach the house, and how they print."""

import asyncio
import os
import signal
from collections.abc import Awaitable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from activities import schema
from models.words import language_of, say
from settings import House, Settings, configure_logs
from starter import api
from starter.front import Front
from starter.refusals import Invalid, Refused

T = TypeVar("T")

out = Console()
LANGUAGE = language_of(os.environ.get("LANG"))

As = Annotated[str, typer.Option("--as", help="经办人工号 · the acting person's id", envvar="KEFU_ACTOR")]
Data = Annotated[Path | None, typer.Option("--data", help="数据目录 · where everything is kept")]


def settings_of(data: Path | None, **given: Any) -> Settings:
    configure_logs()
    values = {name: value for name, value in {"data": data, **given}.items() if value is not None}
    try:
        return Settings(**values)
    except ValidationError as error:
        reasons = (f"KEFU_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise SystemExit("\n".join(reasons)) from error


def house_of(settings: Settings) -> House:
    """The house a command works in. Only `kefu up` and `kefu migrate` make a new one."""
    if settings.database_url is None and not (settings.data / "ledger.db").exists():
        raise SystemExit(say("up", "no_desk", LANGUAGE, data=settings.data.absolute()))
    house = House(settings)
    try:
        Front.check(house)
    except ValueError as error:  # people, policy, keys: each says which file and why
        raise SystemExit(str(error)) from error
    return house


async def front_of(house: House) -> Front:
    return Front(house, await house.temporal())


def with_front(data: Path | None, act: Any) -> Any:
    house = house_of(settings_of(data))
    schema.check(house.database)

    async def run() -> Any:
        return await act(await front_of(house))

    return finished(run())


def finished(work: Awaitable[T]) -> T:
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


def until_stopped(work: Awaitable[None]) -> None:
    async def run() -> None:
        task = asyncio.ensure_future(work)
        for signum in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signum, task.cancel)
        await asyncio.wait({task})

    asyncio.run(run())


def pairs_of(given: str | list[str], what: str) -> dict[str, str]:
    items = [item for item in (given.split(",") if isinstance(given, str) else given) if item]
    for item in items:
        if "=" not in item:
            raise SystemExit(f"{what}: {item!r} 应写作 名=值 · must be name=value")
    return {name.strip(): value for name, _, value in (item.partition("=") for item in items)}


# How it is said


def table_of(*columns: str) -> Table:
    table = Table()
    for column in columns:
        table.add_column(word(column), overflow="fold", no_wrap=column == "case")
    return table


def form_word(task: str) -> str:
    form, _, nth = task.partition("-")
    return say("form", form, LANGUAGE) + (f"（{nth}）" if nth else "")


def word(code: str) -> str:
    return say("screen", code, LANGUAGE)

"""What the commands share: how they reach the house, and how they print."""

import asyncio
import os
import re
import signal
import threading
from collections.abc import Awaitable, Collection, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import typer
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import OperationalError

from activities import schema
from models.forms import HIDDEN
from models.words import aside, choice, knows, label, language_of, say, task_name
from settings import House, Settings, configure_logs
from starter import api
from starter.front import Front
from starter.pages import Page
from starter.refusals import Invalid, Refused, field_errors, of_ledger

T = TypeVar("T")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")
SPAN = re.compile(r"P(\d|T\d)[\dDTHMS.]*$")

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
        raise SystemExit("\n".join(_unset(e) for e in error.errors(include_input=False))) from error


def _unset(error: ErrorDetails) -> str:
    """Which setting does not hold, and why."""
    name = str(error["loc"][0])
    custom = knows("refusal", f"setting_{name}") and error["type"] == "value_error"
    reason = (
        say("refusal", f"setting_{name}", LANGUAGE)
        if custom
        else api.spelt(field_errors([error])[0], LANGUAGE)["reason"]
    )
    return f"KEFU_{name.upper()}: {reason}"


def house_of(settings: Settings) -> House:
    """The house a command works in. Only `kefu up` and `kefu migrate` make a new one."""
    if settings.database_url is None and not (settings.data / "ledger.db").exists():
        raise SystemExit(say("up", "no_desk", LANGUAGE, data=settings.data.absolute()))
    house = House(settings)
    try:
        Front.check(house)
    except ValueError as error:  # people, policy, keys: each says which file and why
        raise SystemExit(str(error)) from error
    except schema.UnknownSchema as error:
        raise SystemExit(say("refusal", "unknown_schema", LANGUAGE, reason=error)) from error
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
        fields = (api.spelt(e, LANGUAGE) for e in error.errors)
        raise SystemExit("\n".join(f"{e['field']}: {e['reason']}" for e in fields)) from error
    except Refused as error:
        raise SystemExit(say("refusal", error.code, LANGUAGE, **error.values)) from error
    except OperationalError as error:
        raise SystemExit(say("refusal", of_ledger(error).code, LANGUAGE)) from error


def until_stopped(work: Awaitable[None]) -> None:
    async def run() -> None:
        task = asyncio.ensure_future(work)
        for signum in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signum, task.cancel)
        await asyncio.wait({task})

    asyncio.run(run())


class Interrupt:
    """Ctrl-C while rows are taken, heard between two of them: Python drops one that comes while it tidies up. A second one
    stops what runs wherever it stands. Only a process's main thread hears of it."""

    def __init__(self) -> None:
        self._pressed = threading.Event()
        self._hears = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Self:
        if self._hears:
            self._before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *_: object) -> None:
        if self._hears:
            signal.signal(signal.SIGINT, self._before)

    def _press(self, _signum: int, _frame: object) -> None:
        if self._pressed.is_set():
            raise KeyboardInterrupt
        self._pressed.set()

    def heard(self) -> None:
        """Between two rows. KeyboardInterrupt where it was pressed."""
        if self._pressed.is_set():
            raise KeyboardInterrupt

    def pause(self, seconds: float) -> None:
        """A sleep that ends with it."""
        self._pressed.wait(seconds)
        self.heard()


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
        table.add_column(word(column), overflow="fold", no_wrap=column in ("case", "visit"))
    return table


def form_word(task: str) -> str:
    return task_name(task, LANGUAGE)


def word(code: str) -> str:
    return say("screen", code, LANGUAGE)


def span(length: timedelta) -> str:
    """A length of time in its two largest units."""
    left, parts = max(round(length / timedelta(minutes=1)), 1), []
    for unit, minutes in (("days", 24 * 60), ("hours", 60), ("minutes", 1)):
        n, left = divmod(left, minutes)
        if n:
            parts.append(say("screen", unit, LANGUAGE, n=n))
    return " ".join(parts[:2])


def fields_of(
    owner: str, content: dict[str, Any], house: House, corrected: Collection[str] = ()
) -> Iterator[tuple[str, str]]:
    """What a form or a case holds, as people call it, and which of it was corrected. `owner` is the form or the process."""
    for field, value in content.items():
        if isinstance(value, dict):
            yield from fields_of(owner, {f"{field}.{name}": inner for name, inner in value.items()}, house, corrected)
        elif isinstance(value, list):
            for item in value:
                parts = item.items() if isinstance(item, dict) else [(field, item)]
                yield label(owner, field, LANGUAGE), "  ".join(_said(owner, name, part, house) for name, part in parts)
        else:
            called = label(owner, field, LANGUAGE)
            marked = aside(called, word("corrected"), LANGUAGE) if field in corrected else called
            yield marked, _said(owner, field, value, house)


def _said(owner: str, field: str, value: Any, house: House) -> str:
    if isinstance(value, bool):
        return choice(owner, field, str(value).lower(), LANGUAGE)
    text = str(value)
    if text == HIDDEN:
        return word("erased_text")
    with suppress(ValueError):
        if INSTANT.match(text):
            return f"{datetime.fromisoformat(text).astimezone(house.calendar):%Y-%m-%d %H:%M}"
        if SPAN.match(text):
            return span(TypeAdapter(timedelta).validate_python(text))
    named = {"task": form_word, **dict.fromkeys(("person", "received_by", "about_employee"), house.people.name)}
    return named[field](text) if field in named else choice(owner, field, text, LANGUAGE)


def rest_of(page: Page[Any]) -> None:
    """Say how much a list left out, and how to see it."""
    if page.cursor:
        out.print(say("screen", "more", LANGUAGE, more=page.more, cursor=page.cursor), soft_wrap=True, highlight=False)

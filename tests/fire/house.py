"""The house that is set on fire, a process of its own: the product's parts under its own supervisor, each behind a gate."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import structlog

from settings import House, Settings, configure_logs
from starter.machine.server import EmbeddedServer, find_binary
from starter.machine.supervisor import Part, Supervisor
from starter.machine.up import only_one, own_directory, parts, prepare
from tests.fire.doomed import DOOM

GATE = Path(__file__).with_name("gate.py")
DOOMS, GATES = "dooms", "gates"
READY = "house.ready"

log = structlog.get_logger()


def the_parts(settings: Settings) -> list[Part]:
    return parts(settings, EmbeddedServer(settings.data, settings.port + 1, settings.port + 2), find_binary())


async def run() -> None:
    settings = Settings()
    own_directory(settings.data)
    for folder in (DOOMS, GATES):
        (settings.data / folder).mkdir(exist_ok=True)
    with only_one(settings.data):
        house = House(settings)
        prepare(house)
        house.engine_address.write_text(f"127.0.0.1:{settings.port + 1}\n")
        mortal = [gated(doomed(part, settings.data), settings.data) for part in the_parts(settings)]
        await Supervisor(mortal, pids=settings.data).run(ready)


def doomed(part: Part, data: Path) -> Part:
    """The same module in the same way, with a listener to its commits. The server is not ours and knows none."""
    if "-m" not in part.argv:
        return part
    before, module = part.argv[: part.argv.index("-m") + 1], part.argv[part.argv.index("-m") + 1 :]
    doom = {DOOM: str(data / DOOMS / part.name)}
    return replace(part, argv=[*before, "tests.fire.doomed", *module], env={**part.env, **doom})


def gated(part: Part, data: Path) -> Part:
    gate = data / GATES / part.name
    gate.touch()
    return replace(part, argv=[sys.executable, "-I", "-S", str(GATE), str(gate), *part.argv])


async def ready() -> None:
    log.info(READY)


if __name__ == "__main__":
    configure_logs()
    asyncio.run(run())

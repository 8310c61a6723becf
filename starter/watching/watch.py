"""`kefu watch`: the watchdog, who reads only the ledger, the reconciler, who compares it with the engine, and whoever else looks round."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Any, Protocol

import structlog
from temporalio.service import RPCError

from starter.watching import reconciler, watchdog
from starter.watching.reconciler import Reconciler
from starter.watching.watchdog import Watchdog

log = structlog.get_logger()


class Watch(Protocol):
    """Somebody who looks round in the ledger now and then, and puts right or hands in what he finds."""

    name: str
    every: timedelta

    def round(self) -> Any: ...


async def watch(dog: Watchdog, other: Reconciler, others: Sequence[Watch] = ()) -> None:
    """All, each for itself, until cancelled. Any number may watch one house: what is found is told once."""
    next_round = 0.0

    async def reconcile() -> None:
        """A full round at the start and every hour, a glance in between."""
        nonlocal next_round
        try:
            if monotonic() < next_round:
                await other.glance()
                return
            await other.round()
            next_round = monotonic() + reconciler.EVERY.total_seconds()
        except (RPCError, RuntimeError) as error:
            log.warning("engine.out_of_reach", reason=type(error).__name__)
            await other.out_of_reach()

    async with asyncio.TaskGroup() as group:
        group.create_task(_again_and_again("watchdog", lambda: asyncio.to_thread(dog.round), watchdog.EVERY))
        group.create_task(_again_and_again("reconciler", reconcile, reconciler.GLANCE_EVERY))
        for each in others:
            look = partial(asyncio.to_thread, each.round)
            group.create_task(_again_and_again(each.name, look, each.every))


async def _again_and_again(name: str, look: Callable[[], Awaitable[Any]], every: timedelta) -> None:
    """What goes wrong in a round ends that round only: a watch that stops is none."""
    while True:
        try:
            await look()
        except Exception:
            log.exception("watch.failed", watch=name)
        await asyncio.sleep(every.total_seconds())

"""`kefu watch`: the watchdog, who reads only the ledger, the reconciler, who compares it with the engine, and the watch over the post."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import monotonic
from typing import Any

import structlog
from temporalio.service import RPCError

from starter.watching import postwatch, reconciler, watchdog
from starter.watching.postwatch import PostWatch
from starter.watching.reconciler import Reconciler
from starter.watching.watchdog import Watchdog

log = structlog.get_logger()


async def watch(dog: Watchdog, other: Reconciler, post: PostWatch | None = None) -> None:
    """All of them, each for itself, until cancelled. Any number may watch one house: what is found is told once."""
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
        if post:
            group.create_task(_again_and_again("post", lambda: asyncio.to_thread(post.round), postwatch.EVERY))


async def _again_and_again(name: str, look: Callable[[], Awaitable[Any]], every: timedelta) -> None:
    """What goes wrong in a round ends that round only: a watch that stops is none."""
    while True:
        try:
            await look()
        except Exception:
            log.exception("watch.failed", watch=name)
        await asyncio.sleep(every.total_seconds())

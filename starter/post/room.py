"""`kefu post`: the post room at work. Each of its workers goes on by himself, whatever becomes of the others."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic

import structlog

from settings import House
from starter.mail.mailbox import Mailbox
from starter.mail.outbox import Outbox
from starter.post.morning import Morning
from starter.post.sender import Sender

LANES = 3
"""Messages on their way at once: a slow channel holds up no other."""
IDLE, LANE_IDLE = 0.5, 1.0
MORNING_EVERY = 20.0
LETTERS_EVERY = 1.0
MAILBOX_EVERY = 60.0
HEARTBEAT = 10.0
"""Seconds, at most, between two signs of life."""

log = structlog.get_logger()


async def keep_open(house: House, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
    """Sort, send, tell the morning, read the mailbox and answer letters, until cancelled. Any number of post rooms may be open side by side."""
    sender, morning = Sender(house, clock), Morning(house, clock)
    mailbox, outbox = Mailbox(house, clock), Outbox(house, clock)
    beat = 0.0

    def sort() -> None:
        nonlocal beat
        if monotonic() - beat > HEARTBEAT or not sender.is_idle():
            sender.sort()
            beat = monotonic()

    def send() -> None:
        parcel = None if sender.is_idle() else sender.next()
        while parcel:
            parcel = sender.settle(parcel, sender.hand_over(parcel))

    async with asyncio.TaskGroup() as group:
        group.create_task(again_and_again("sorter", sort, IDLE))
        group.create_task(again_and_again("morning", morning.round, MORNING_EVERY))
        group.create_task(again_and_again("outbox", outbox.round, LETTERS_EVERY))
        group.create_task(again_and_again("mailbox", mailbox.round, MAILBOX_EVERY))
        for lane in range(LANES):
            group.create_task(again_and_again(f"lane {lane}", send, LANE_IDLE))


async def again_and_again(name: str, work: Callable[[], object], every: float) -> None:
    """What goes wrong in a round ends that round only. Its message may name an address: the kind is logged, no more."""
    while True:
        try:
            await asyncio.to_thread(work)
        except Exception as error:  # noqa: BLE001
            log.error("post.failed", worker=name, reason=type(error).__name__)
        await asyncio.sleep(every)

"""The engine's Schedules: one for each process of the calendar, made and kept up to date by every worker that starts."""

import asyncio
from collections.abc import Callable
from datetime import time, timedelta

import structlog
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleCalendarSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError

from activities.opening import Due
from models.calendar import Monthly, Rhythm
from starter.calendar.almanac import Almanac

CATCH_UP = timedelta(days=365)
"""An engine that was down starts what it missed, this far back."""
AGAIN_AFTER = 5.0
"""Seconds until a worker tries again to make them, where the engine did not answer."""

log = structlog.get_logger()


def id_of(process: str) -> str:
    return f"calendar-{process}"


def schedule(process: str, rhythm: Rhythm, zone: str, task_queue: str) -> Schedule:
    """ALLOW_ALL: the openings of two periods do not wait for each other, and each is the ledger's own to make unique.

    The engine appends the instant to the workflow's id: the period is in it.
    """
    at = time.fromisoformat(rhythm.at)
    day = [ScheduleRange(rhythm.day)] if isinstance(rhythm, Monthly) else [ScheduleRange(1, 31)]
    return Schedule(
        action=ScheduleActionStartWorkflow(
            "opening", Due(process=process), id=f"opening-{process}", task_queue=task_queue
        ),
        spec=ScheduleSpec(
            calendars=[
                ScheduleCalendarSpec(day_of_month=day, hour=[ScheduleRange(at.hour)], minute=[ScheduleRange(at.minute)])
            ],
            time_zone_name=zone,
        ),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.ALLOW_ALL, catchup_window=CATCH_UP),
    )


async def make(client: Client, almanac: Almanac, task_queue: str) -> None:
    """Every Schedule as this release has it, whether it is there or not. One that an operator paused stays paused.

    Raises RPCError where the engine does not answer.
    """
    for process in almanac.processes:
        wanted = schedule(process, almanac.rhythm(process), almanac.zone, task_queue)
        try:
            await client.create_schedule(id_of(process), wanted)
        except ScheduleAlreadyRunningError:
            await client.get_schedule_handle(id_of(process)).update(_as(wanted))


async def keep(client: Client, almanac: Almanac, task_queue: str) -> None:
    """`make`, tried until it works: the watch opens meanwhile what is due."""
    while True:
        try:
            await asyncio.to_thread(almanac.begin)
            await make(client, almanac, task_queue)
            return
        except (RPCError, RuntimeError) as error:
            log.warning("calendar.no_schedules", reason=type(error).__name__)
            await asyncio.sleep(AGAIN_AFTER)


def _as(wanted: Schedule) -> Callable[[ScheduleUpdateInput], ScheduleUpdate]:
    def updated(found: ScheduleUpdateInput) -> ScheduleUpdate:
        found.description.schedule.action = wanted.action
        found.description.schedule.spec = wanted.spec
        found.description.schedule.policy = wanted.policy
        return ScheduleUpdate(schedule=found.description.schedule)

    return updated

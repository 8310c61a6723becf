"""The acts of the visits' doors: each written in one transaction, then delivered; the API and the command line only translate."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from sqlmodel import Session

from activities.database import once_more
from models.people import Person
from models.visits.facts import PlannedVisit
from models.visits.months import Month
from starter.docket import Receipt
from starter.front import Front
from starter.views import Views
from starter.visits.calls import Called, Calls, CallSent, PutOff
from starter.visits.headquarters import Headquarters, Remark
from starter.visits.plans import Delivered, Plans, PlanSent, Source


async def deliver_plan(
    front: Front, by: Person, month: Month, store: str, sent: PlanSent, source: Source = "api", key: str | None = None
) -> Delivered:
    """Hand a store's plan in. Its receipt says `pending` where the engine has not answered in time."""
    kept: list[Delivered] = []

    def write(session: Session, now: datetime, holder: str | None) -> Receipt:
        kept.append(
            Plans(session, now, front.house, front.submissions, by).deliver(month, store, sent, source, key, holder)
        )
        return kept[-1].receipt

    receipt = front.taken(await _sent(front, write))
    if case := kept[-1].month_case:
        await front.relay.carry(case)
    return Delivered(receipt, kept[-1].version, kept[-1].month_case)


async def look_at_plan(front: Front, by: Person, month: Month, store: str, lines: list[PlannedVisit]) -> None:
    """Look at a plan's lines as `deliver_plan` does, and take none."""

    def look(views: Views) -> None:
        Plans(views.session, views.now, front.house, front.submissions, by).look_at(month, store, lines)

    await front.look(by, look)


async def call(front: Front, by: Person, visit: str, sent: CallSent, key: str | None = None) -> Called:
    """Write what came of a call. A complaint that it becomes is open in the same transaction."""
    return await _written(front, by, lambda calls: calls.call(visit, sent, key))


async def hold(front: Front, by: Person, visit: str) -> Called:
    return await _written(front, by, lambda calls: calls.hold(visit))


async def put_off(front: Front, by: Person, visit: str, sent: PutOff) -> Called:
    return await _written(front, by, lambda calls: calls.put_off(visit, sent))


async def consolidate(front: Front, by: Person, month: Month, sent: Remark, key: str | None = None) -> Receipt:
    """Make one plan of the stores'."""
    desk = _headquarters(front, by)
    receipt = await _sent(front, lambda session, now, holder: desk.consolidate(session, now, month, sent, key, holder))
    return front.taken(receipt)


async def report(front: Front, by: Person, month: Month, sent: Remark, key: str | None = None) -> Receipt:
    """Close a month's plans and hand its report in. Broken off, it is done again and goes on."""
    desk = _headquarters(front, by)
    closed = await asyncio.to_thread(desk.close_plans, month)
    receipt = await _sent(front, lambda session, now, holder: desk.report(session, now, month, sent, key, holder))
    await front.relay.carry(*closed)
    return front.taken(receipt)


def _headquarters(front: Front, by: Person) -> Headquarters:
    return Headquarters(front.house, front.submissions, front.now, by)


async def _written(front: Front, by: Person, act: Callable[[Calls], Called]) -> Called:
    called = await front.write(lambda session, now: act(Calls(session, now, front.house, front.submissions, by)))
    await front.relay.carry(*called.cases)
    return called


async def _sent(front: Front, write: Callable[[Session, datetime, str | None], Receipt]) -> Receipt:
    @once_more
    def commit(holder: str | None) -> Receipt:
        with front.house.database.writing() as session:
            return write(session, front.now(), holder)

    return await front.relay.send(commit)

"""What the member system is asked for: who is new or changed, whose card expires in a month, what a member bought. All is taken as if it had been sent."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import structlog
from sqlmodel import Session

from activities import members
from models.members import Member, MemberRecord, PurchaseRecord
from models.tables import MemberRow, PullRow
from starter.front import Front
from starter.members.register import Taken
from starter.members.sources import Asked
from starter.refusals import Refused

OVERLAP = timedelta(minutes=10)
"""Asked for once more each time: a system stamps a change before others see it. What is known already costs nothing."""
AT_ONCE = 100
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)

log = structlog.get_logger()


class Pulled(NamedTuple):
    """What a pull brought."""

    new: int = 0
    changed: int = 0
    known: int = 0
    refused: int = 0

    def __add__(self, other: "Pulled") -> "Pulled":  # type: ignore[override]
        return Pulled(*(a + b for a, b in zip(self, other, strict=True)))


def pull_changed(front: Front, source: Asked) -> Pulled:
    """Everybody who is new or changed since the last time. SourceFailed leaves it to be asked again from there."""
    begun = front.now()
    with front.house.database.reading() as session:
        last = session.get(PullRow, source.name)
    since = (last.since - OVERLAP) if last else LONG_AGO
    pulled = _take(front, source, source.changed(since), existing=False)
    front.write_here(lambda session, now: session.merge(PullRow(source=source.name, since=begun, at=now)))
    log.info("members.pulled", **pulled._asdict())
    return pulled


def pull_expiring(front: Front, source: Asked, month: str) -> Pulled:
    """Everybody whose card expires in a month. Who is not known yet was a member before go-live."""
    return _take(front, source, source.expiring(month), existing=True)


def pull_purchases(front: Front, source: Asked, ids: Sequence[str], since: datetime, until: datetime) -> Pulled:
    """What these members (ids of ours) paid in a period, and what was paid back of it."""
    pulled = Pulled()
    for member in ids:
        with front.house.database.reading() as session:
            number = members.whole(session.get_one(MemberRow, member), front.house.keys)["member_no"]
        for part in _parts(source.receipts(number, since, until)):
            pulled += _counted(front.write_here(partial(_take_receipts, front, part)))
    return pulled


def _take(front: Front, source: Asked, found: Iterable[Member], existing: bool) -> Pulled:
    unfit, pulled = source.unfit, Pulled()
    for part in _parts(member.record for member in found if member.record):
        pulled += _counted(front.write_here(partial(_take_members, front, part, existing)))
    return pulled + Pulled(refused=source.unfit - unfit)


def _take_members(
    front: Front, part: list[MemberRecord], existing: bool, session: Session, now: datetime
) -> list[Taken | Refused]:
    return front.audits.register.take_all(session, now, part, existing)


def _take_receipts(front: Front, part: list[PurchaseRecord], session: Session, now: datetime) -> list[Taken | Refused]:
    return front.receipts.take_all(session, now, part)


def _counted(outcomes: Sequence[Taken | Refused]) -> Pulled:
    for refused in (outcome for outcome in outcomes if isinstance(outcome, Refused)):
        log.warning("members.refused", code=refused.code)
    what = [outcome.what if isinstance(outcome, Taken) else "refused" for outcome in outcomes]
    return Pulled(*(what.count(name) for name in Pulled._fields))


def _parts(records: Iterable[Any]) -> Iterator[list[Any]]:
    left = iter(records)
    while part := list(islice(left, AT_ONCE)):
        yield part

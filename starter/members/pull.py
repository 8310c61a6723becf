"""What the member system is asked for: who is new or changed, whose card expires in a month, what a member bought. All is taken as if it had been sent."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, time, timedelta
from functools import partial
from itertools import chain, islice
from typing import Any, Literal, NamedTuple

import structlog
from sqlmodel import Session

from activities import members
from activities.members import LocalMembers
from models.forms import LEDGER
from models.members import Member, MemberRecord, PurchaseRecord, month_days
from models.tables import MemberRow, PullRow
from starter.front import Front
from starter.members.register import Taken
from starter.members.sources import Asked, SourceFailed
from starter.members.telling import mark_of, tell_administrators
from starter.refusals import Refused

OVERLAP = timedelta(minutes=10)
"""Asked for once more each time: a system stamps a change before others see it. What is known already costs nothing."""
AT_ONCE = 100
RECEIPTS_EVERY = timedelta(hours=1)
"""Who bought what is a question for each member: asked as often as somebody may be called before it is known."""
CARD_YEAR = timedelta(days=400)
"""No year that counts for a card began longer before its last day, be it the card's own or the calendar's."""
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
TRIES = 3
FIRST_AT_MOST = 200
"""So many strangers of a first pull may be new members; more are the register, and somebody says what they are."""

First = Literal["ask", "new", "existing"]
"""What the strangers of a pull are: members to be audited, or of before go-live. `ask`: new, if they are not too many at first."""

log = structlog.get_logger()


class Pulled(NamedTuple):
    """What a pull brought."""

    new: int = 0
    changed: int = 0
    known: int = 0
    refused: int = 0

    def __add__(self, other: "Pulled") -> "Pulled":  # type: ignore[override]
        return Pulled(*(a + b for a, b in zip(self, other, strict=True)))


class WholeRegister(Exception):
    """The first pull would open an audit of everybody there is: the manager or the administrator says what they are."""


def pull_news(front: Front, source: Asked, first: First = "ask") -> tuple[Pulled, Pulled]:
    """Everybody who is new or changed since the last time, and the receipts of those whose card ends soon.

    SourceFailed leaves it to be asked again from there: it has answered when it has answered both, and a list waits for that.
    WholeRegister takes nothing.
    """
    begun = front.now()
    last = _last(front, source.name)
    if last is None and first == "ask" and _is_whole_register(front, source):
        front.write_here(_teller(front, "first_pull_waits", [source.name.encode()], {"limit": str(FIRST_AT_MOST)}))
        raise WholeRegister
    found = source.changed(last - OVERLAP if last else LONG_AGO)
    changed = _take(front, source, found, existing=first == "existing")
    log.info("members.pulled", **changed._asdict())
    bought = _pull_bought(front, source, begun)
    _answered(front, source.name, begun)
    return changed, bought


def pull_expiring(front: Front, source: Asked, month: str) -> Pulled:
    """Everybody whose card expires in a month. Who is not known yet was a member before go-live."""
    return _take(front, source, source.expiring(month), existing=True)


def pull_purchases(front: Front, source: Asked, ids: Iterable[str], since: datetime, until: datetime) -> Pulled:
    """What these members (ids of ours) paid in a period, and what was paid back of it."""
    found = chain.from_iterable(_receipts(source, _number(front, member), since, until) for member in ids)
    return _take_all(front, source, found, front.receipts.take_all, "receipts_refused")


def _receipts(source: Asked, number: str, since: datetime, until: datetime) -> list[PurchaseRecord]:
    """One of thousands of questions: where it fails it is asked again, before all of them are."""
    for _ in range(TRIES - 1):
        with suppress(SourceFailed):
            return source.receipts(number, since, until)
    return source.receipts(number, since, until)


def _is_whole_register(front: Front, source: Asked) -> bool:
    strangers, found = 0, source.changed(LONG_AGO)
    for part in _parts(member.record for member in found if member.record):
        with front.house.database.reading() as session:
            strangers += front.audits.register.strangers(session, part)
        if strangers > FIRST_AT_MOST:
            break
    source.unfit()  # they come again, where they are taken
    return strangers > FIRST_AT_MOST


def _pull_bought(front: Front, source: Asked, now: datetime) -> Pulled:
    """The receipts of those who are to be listed and called: of the whole year, for an old order may be paid back today.

    Once in a while; but first of all in every month, whose list is reckoned by them.
    """
    mark, zone = f"{source.name}-receipts", front.house.calendar
    last, today = _last(front, mark), now.astimezone(zone).date()
    if last and now - last < RECEIPTS_EVERY and last.astimezone(zone).month == today.month:
        return Pulled()
    this_month = f"{today:%Y-%m}"
    pulled = Pulled()
    for month in (this_month, f"{month_days(this_month)[1]:%Y-%m}"):
        expiring = LocalMembers(front.house.database).expiring(month)
        ids = (member.id for member in expiring if member.valid_through and member.valid_through >= today)
        since = datetime.combine(month_days(month)[0], time(), zone) - CARD_YEAR
        pulled += pull_purchases(front, source, ids, since, now)
    _answered(front, mark, now)
    log.info("members.receipts_pulled", **pulled._asdict())
    return pulled


def _last(front: Front, source: str) -> datetime | None:
    """Up to when everything was taken."""
    with front.house.database.reading() as session:
        row = session.get(PullRow, source)
    return row.since if row else None


def _answered(front: Front, source: str, begun: datetime) -> None:
    front.write_here(lambda session, now: session.merge(PullRow(source=source, since=begun, at=now)))


def _number(front: Front, member: str) -> str:
    """What the member system calls a member of ours."""
    with front.house.database.reading() as session:
        number: str = members.whole(session.get_one(MemberRow, member), front.house.keys)["member_no"]
    return number


def _take(front: Front, source: Asked, found: Iterable[Member], existing: bool) -> Pulled:
    take = partial(front.audits.register.take_all, existing=existing)
    return _take_all(front, source, (member.record for member in found if member.record), take, "members_refused")


def _take_all(
    front: Front,
    source: Asked,
    records: Iterable[MemberRecord | PurchaseRecord],
    take: Callable[..., list[Taken | Refused]],
    refused: str,
) -> Pulled:
    """Take them a part at a time. Those that cannot be are in the log, and the administrators hear how many they are."""
    pulled, marks = Pulled(), []
    for part in _parts(records):
        outcomes = front.write_here(partial(_taken, take, part))
        pulled += _counted(outcomes)
        marks += [_mark(record, out) for record, out in zip(part, outcomes, strict=True) if isinstance(out, Refused)]
    unfit = source.unfit()
    if marks or unfit:
        counts = {"refused": str(len(marks) + len(unfit))}
        front.write_here(_teller(front, refused, [*marks, *unfit], counts))
    return pulled + Pulled(refused=len(unfit))


def _teller(front: Front, what: str, marks: list[bytes], counts: dict[str, str]) -> Callable[..., None]:
    return partial(tell_administrators, front.house.people, front.house.keys, what, marks, counts)


def _taken(
    take: Callable[..., list[Taken | Refused]], part: list[Any], session: Session, now: datetime
) -> list[Taken | Refused]:
    return take(session, now, part)


def _mark(record: MemberRecord | PurchaseRecord, refused: Refused) -> bytes:
    return mark_of(refused.code + record.model_dump_json(context=LEDGER))


def _counted(outcomes: Sequence[Taken | Refused]) -> Pulled:
    for refused in (outcome for outcome in outcomes if isinstance(outcome, Refused)):
        log.warning("members.refused", code=refused.code)
    what = [outcome.what if isinstance(outcome, Taken) else "refused" for outcome in outcomes]
    return Pulled(*(what.count(name) for name in Pulled._fields))


def _parts(records: Iterable[Any]) -> Iterator[list[Any]]:
    left = iter(records)
    while part := list(islice(left, AT_ONCE)):
        yield part

"""Sending notices: claimed under a lease, handed to a channel, settled; any number of senders side by side.

1. A notice's row says over which channel it goes, and not before when. 2. Who claims takes all that one person has waiting
on one channel: that is one message, a parcel, and its id is the idempotency key of every attempt. 3. The claim is
committed before the channel hears a word. 4. What the channel said is committed with the next claim. 5. A claim that
nobody settled is claimed again when its lease ends, and goes out marked as a possible duplicate. 6. What a channel will
not take goes over the person's next one.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import structlog
from sqlmodel import Session, col, func, select, update

from activities.database import once_more
from models.reach import GROUP, NOT_OUTSIDE, kind_of
from models.tables import CaseRow, DeliveryRow, NoticeRow, TaskRow, WatchRow
from settings import House
from starter.access import answer_at
from starter.post.channels import MOST, MOST_ELSEWHERE, Channel, Others, channels_of
from starter.post.sorting import NAME, Sorter
from starter.post.tray import UNREACHABLE, Silence, Verdict, is_free, ready, settle, take
from starter.post.wording import Line, Message, Wording

HOUR = timedelta(hours=1)
DEFERRALS = 100
"""So many people's rows are put off in one transaction before somebody else may write."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Parcel:
    """One message in this sender's hands: which rows it is of, where it goes, what it says."""

    rows: list[int]
    person: str
    channel: str
    address: str
    message: Message


@dataclass
class Tally:
    """What a round did."""

    sorted: int = 0
    sent: int = 0
    failed: int = 0
    by: dict[str, int] = field(default_factory=dict)


class Sender:
    """Sends what is due. `clock` gives the present instant, UTC; the ledger's rows are the only memory."""

    def __init__(
        self, house: House, clock: Callable[[], datetime], channels: Mapping[str, Channel] | None = None
    ) -> None:
        self._database = house.database
        self._people = house.people
        self._zone = house.calendar
        self._reached = house.reached
        self._rules = house.reach.post
        self._clock = clock
        self._channels = channels_of(house.settings, house.reach) if channels is None else channels
        self._others = Others()
        self._wording = Wording(house.people, house.calendar, house.settings.link, partial(answer_at, house.keys))
        self._holder = secrets.token_hex(4)
        self._silence = Silence()
        self.sorter = Sorter(house.reached, house.calendar)

    # A round

    def round(self) -> Tally:
        """Sort what is new, send what is due, until nothing is."""
        tally = Tally(sorted=self.sort())
        parcel = self.next()
        while parcel:
            verdict = self.hand_over(parcel)
            tally.sent += verdict.taken == "delivered"
            tally.failed += verdict.taken != "delivered"
            parcel = self.settle(parcel, verdict)
        return tally

    def sort(self) -> int:
        """Sort all that is new, a few at a time. How many."""
        done = 0
        while fresh := self._sort_some():
            done += fresh
        return done

    @once_more
    def _sort_some(self) -> int:
        with self._database.writing() as session:
            now = self._clock()
            fresh = self.sorter.sort(session, now)
            session.merge(WatchRow(name=NAME, at=now))
        return fresh

    def is_idle(self) -> bool:
        """Whether there is nothing to sort and nothing to send: seen without the ledger's writer."""
        with self._database.reading() as session:
            now = self._clock()
            if self.sorter.anything(session, now):
                return False
            due = select(DeliveryRow.id).where(ready(DeliveryRow, now))
            return (
                session.exec(due.where(col(DeliveryRow.channel).not_in(self._silence.now(now))).limit(1)).first()
                is None
            )

    def next(self) -> Parcel | None:
        """Claim what goes out next; None when nothing is due."""
        with self._database.writing() as session:
            return self._claim(session, self._clock())

    def hand_over(self, parcel: Parcel) -> Verdict:
        """Give it to its channel. Whatever a channel does, it does not stop the others."""
        channel = self._channels.get(parcel.channel, self._others)
        try:
            verdict = channel.send(parcel.address, parcel.message)
        except Exception as error:  # noqa: BLE001 — its message may name an address: the kind is logged, no more
            log.error("post.channel_failed", channel=parcel.channel, reason=type(error).__name__)
            verdict = Verdict("unsure", "failed")
        say = log.info if verdict.taken == "delivered" else log.warning
        say(
            "post.sent",
            to=parcel.person,
            over=parcel.channel,
            notices=len(parcel.rows),
            taken=verdict.taken,
            why=verdict.why,
        )
        return verdict

    def settle(self, parcel: Parcel, verdict: Verdict) -> Parcel | None:
        """Write what became of a parcel, and claim the next."""
        with self._database.writing() as session:
            now = self._clock()
            rows = self._rows(session, DeliveryRow.parcel == parcel.message.key)
            outcome = settle(rows, verdict, now, self._rules.patience)
            session.flush()
            if outcome == "undeliverable":
                for row in rows:
                    self.sorter.next_channel(session, row, now)
            if self._silence.note(parcel.channel, verdict, now):
                self._wake(session, parcel.channel, now)
            session.flush()
            return self._claim(session, now)

    # Claiming

    def _claim(self, session: Session, now: datetime) -> Parcel | None:
        for _ in range(DEFERRALS):
            row = self._first(session, now)
            if row is None:
                return None
            self._readdress(session, row, now)
            if row.parcel:
                rows = self._rows(session, DeliveryRow.parcel == row.parcel)
            elif row.urgent:
                rows = [row]
            elif later := self._held_until(session, row, now):
                self._hold(session, row, later)
                continue
            else:
                rows = self._waiting_with(session, row, now)
            if parcel := self._packed(session, rows, now):
                return parcel
        return None

    def _first(self, session: Session, now: datetime) -> DeliveryRow | None:
        query = select(DeliveryRow).where(ready(DeliveryRow, now))
        if silent := self._silence.now(now):
            query = query.where(col(DeliveryRow.channel).not_in(silent))
        query = query.order_by(col(DeliveryRow.urgent).desc(), col(DeliveryRow.next_try_at), col(DeliveryRow.id))
        return session.exec(query.limit(1).with_for_update(skip_locked=True)).first()

    def _readdress(self, session: Session, row: DeliveryRow, now: datetime) -> None:
        """What waits for a channel that the person has changed since goes over the one he has in its place."""
        channels = self._reached(row.person).channels
        kind = kind_of(channels[row.rank].get_secret_value()) if row.rank < len(channels) else None
        if kind in (None, row.channel):
            return
        session.exec(
            update(DeliveryRow)
            .where(col(DeliveryRow.person) == row.person, col(DeliveryRow.rank) == row.rank)
            .where(col(DeliveryRow.channel) == row.channel, is_free(DeliveryRow, now))
            .values(channel=kind)
        )
        session.refresh(row)

    def _waiting_with(self, session: Session, row: DeliveryRow, now: datetime) -> list[DeliveryRow]:
        """All that goes to this person over this channel now, in the order it came."""
        query = (
            select(DeliveryRow)
            .where(ready(DeliveryRow, now), DeliveryRow.person == row.person, DeliveryRow.channel == row.channel)
            .where(DeliveryRow.rank == row.rank, col(DeliveryRow.parcel).is_(None))
            .order_by(col(DeliveryRow.notice))
            .limit(MOST.get(row.channel, MOST_ELSEWHERE))
        )
        return list(session.exec(query.with_for_update(skip_locked=True)))

    def _held_until(self, session: Session, row: DeliveryRow, now: datetime) -> datetime | None:
        """When a message that is not urgent may go: after the window, within the hour's number, when he is awake."""
        reach = self._reached(row.person)
        awake = reach.awake_at(now, self._zone)
        most = reach.most_an_hour or self._rules.most_an_hour
        sent = session.exec(
            select(func.max(DeliveryRow.delivered_at))
            .where(DeliveryRow.person == row.person, DeliveryRow.channel == row.channel)
            .where(col(DeliveryRow.delivered_at) > now - max(HOUR, self._rules.window))
            .group_by(col(DeliveryRow.parcel))
        )
        times = sorted(at for at in sent if at)
        may = [awake]
        if times:
            may.append(times[-1] + self._rules.window)
        if len(within := [at for at in times if at > now - HOUR]) >= most:
            may.append(within[-most] + HOUR)
        return later if (later := max(may)) > now else None

    def _hold(self, session: Session, row: DeliveryRow, until: datetime) -> None:
        """All that this person has waiting on this channel waits together."""
        session.exec(
            update(DeliveryRow)
            .where(col(DeliveryRow.person) == row.person, col(DeliveryRow.channel) == row.channel)
            .where(col(DeliveryRow.state) == "waiting", col(DeliveryRow.parcel).is_(None))
            .where(~col(DeliveryRow.urgent), col(DeliveryRow.next_try_at) < until)
            .values(next_try_at=until)
        )
        session.expire_all()

    def _wake(self, session: Session, channel: str, now: datetime) -> None:
        """A channel is back: what it could not take goes now."""
        session.exec(
            update(DeliveryRow)
            .where(col(DeliveryRow.channel) == channel, col(DeliveryRow.state) == "waiting")
            .where(col(DeliveryRow.failed) == UNREACHABLE, col(DeliveryRow.next_try_at) > now)
            .values(next_try_at=now)
        )
        session.expire_all()

    def _packed(self, session: Session, rows: Sequence[DeliveryRow], now: datetime) -> Parcel | None:
        """A parcel of these rows, in our hands; None where nothing of them is to be told any more."""
        lines = {row.notice: line for row in rows if (line := _line(session, row)) is not None}
        for row in rows:
            if row.notice not in lines:
                row.state, row.leased_by, row.leased_until = "outdated", None, None
        rows = [row for row in rows if row.notice in lines]
        reach = self._reached(rows[0].person) if rows else NOT_OUTSIDE
        if not rows or rows[0].rank >= len(reach.channels):
            for row in rows:  # the channel was taken from him meanwhile
                row.state, row.failed = "undeliverable", "no_channel"
            session.flush()
            return None
        channel = self._channels.get(rows[0].channel, self._others)
        begun = rows[0].first_tried_at or now
        doubtful = take(rows, self._holder, now) and now - begun >= channel.remembers
        key = rows[0].parcel or secrets.token_hex(12)
        for row in rows:
            row.parcel = key
        session.flush()
        told = list(lines.values())
        make = self._wording.counts if rows[0].person.startswith(GROUP) else self._wording.message
        message = make(key, told, reach.language, doubtful)
        address = reach.channels[rows[0].rank].get_secret_value()
        return Parcel([row.id or 0 for row in rows], rows[0].person, rows[0].channel, address, message)

    def _rows(self, session: Session, where: object) -> list[DeliveryRow]:
        query = select(DeliveryRow).where(where).order_by(col(DeliveryRow.notice))  # type: ignore[arg-type]
        return list(session.exec(query.with_for_update()))


def _line(session: Session, row: DeliveryRow) -> Line | None:
    """The notice as it goes out; None where it was taken back, or reminds of what is done or due at another time."""
    notice = session.get(NoticeRow, row.notice)
    if notice is None or (notice.person, notice.key) != (row.person, row.key):
        return None
    if notice.what == "reminder" and row.parcel is None:
        task = session.get(TaskRow, (notice.case_id, notice.task))
        if task is None or task.state != "open" or f"/{task.generation}/" not in notice.key:
            return None
    case = session.get(CaseRow, notice.case_id) if notice.case_id else None
    return Line(notice, case.number if case else None)

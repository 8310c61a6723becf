"""The bell: what must be heard while everything else may be dead is said by the watch itself, over channels of its own.

It asks neither the engine nor the post. Each channel of `[watch]` hears of an alarm once, and once that it is over; what a
channel did not take is tried again. That an alarm was rung stands in its own row, committed before and after.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import structlog
from sqlmodel import Session, col, or_, select

from models.reach import kind_of
from models.tables import AlarmRow
from models.words import say
from settings import House
from starter.post.channels import Others, channels_of
from starter.post.tray import Verdict
from starter.post.wording import Message
from starter.watching.canary import SILENT
from starter.watching.postwatch import STANDS

LOUD = (SILENT, STANDS)
"""What the post cannot be trusted to tell."""
AGAIN_AFTER = timedelta(seconds=30)
REMEMBERED = timedelta(days=1)
"""So long it is tried to say that an alarm is over."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Stroke:
    """One alarm in this bell's hands: which channels are to hear what."""

    alarm: int
    says: Literal["on", "over"]
    ranks: list[int]
    message: Message


class Bell:
    """Any number may hang in one house: who rings has an alarm to himself for half a minute."""

    name = "bell"
    every = timedelta(seconds=5)

    def __init__(self, house: House, clock: Callable[[], datetime]) -> None:
        self._database = house.database
        self._zone = house.calendar
        self._clock = clock
        self._language = house.reach.watch.language
        self._addresses = [address.get_secret_value() for address in house.reach.watch.channels]
        self._channels = channels_of(house.settings, house.reach)
        self._others = Others()

    def round(self) -> int:
        """Ring what is to be rung. How many channels took it."""
        taken = 0
        for alarm in self._to_ring():
            if stroke := self._claimed(alarm):
                verdicts = {rank: self._hand_over(rank, stroke) for rank in stroke.ranks}
                taken += sum(verdict.taken == "delivered" for verdict in verdicts.values())
                self._settle(stroke, verdicts)
        return taken

    def _to_ring(self) -> list[int]:
        with self._database.reading() as session:
            now = self._clock()
            loud = or_(col(AlarmRow.cleared_at).is_(None), col(AlarmRow.cleared_at) > now - REMEMBERED)
            alarms = session.exec(select(AlarmRow).where(col(AlarmRow.kind).in_(LOUD), loud).order_by(col(AlarmRow.id)))
            return [alarm.id or 0 for alarm in alarms if self._deaf(alarm) and _is_free(alarm, now)]

    def _deaf(self, alarm: AlarmRow) -> list[int]:
        """The channels that do not know how it stands. That it is over, those hear that have heard of it."""
        told = _rung(alarm).get("told", {})
        if alarm.cleared_at is None:
            return [rank for rank in range(len(self._addresses)) if str(rank) not in told]
        return [rank for rank in range(len(self._addresses)) if told.get(str(rank)) == "on"]

    def _claimed(self, alarm: int) -> Stroke | None:
        with self._database.writing() as session:
            row, now = self._locked(session, alarm), self._clock()
            ranks = self._deaf(row)
            if not ranks or not _is_free(row, now):
                return None
            before = _rung(row)
            row.data = {**row.data, "bell": {**before, "tried_at": now.isoformat(), "unsure": True}}
            return Stroke(
                alarm, "over" if row.cleared_at else "on", ranks, self._message(row, before.get("unsure", False))
            )

    def _hand_over(self, rank: int, stroke: Stroke) -> Verdict:
        """Whatever a channel does, it does not stop the others."""
        address = self._addresses[rank]
        channel = kind_of(address) or ""
        try:
            verdict = self._channels.get(channel, self._others).send(address, stroke.message)
        except Exception as error:  # noqa: BLE001 — its message may name an address: the kind is logged, no more
            log.error("bell.channel_failed", over=channel, reason=type(error).__name__)
            verdict = Verdict("unsure", "failed")
        say_so = log.info if verdict.taken == "delivered" else log.error
        say_so("bell.rung", alarm=stroke.alarm, says=stroke.says, over=channel, taken=verdict.taken, why=verdict.why)
        return verdict

    def _settle(self, stroke: Stroke, verdicts: dict[int, Verdict]) -> None:
        heard = {
            str(rank): stroke.says for rank, verdict in verdicts.items() if verdict.taken in ("delivered", "never")
        }
        unsure = any(verdict.taken == "unsure" for verdict in verdicts.values())
        with self._database.writing() as session:
            row = self._locked(session, stroke.alarm)
            before = _rung(row)
            told = {**before.get("told", {}), **heard}
            again = {"tried_at": before["tried_at"]} if len(heard) < len(verdicts) else {}
            row.data = {**row.data, "bell": {"told": told, "unsure": unsure, **again}}

    def _locked(self, session: Session, alarm: int) -> AlarmRow:
        return session.exec(select(AlarmRow).where(AlarmRow.id == alarm).with_for_update()).one()

    def _message(self, alarm: AlarmRow, doubtful: bool) -> Message:
        phase = "over" if alarm.cleared_at else "on"
        what = say("alarm", alarm.kind, self._language)
        instants = {"since": alarm.since, "until": alarm.cleared_at or alarm.since}
        values = {name: f"{at.astimezone(self._zone):%Y-%m-%d %H:%M}" for name, at in instants.items()}
        text = say("post", f"bell_{phase}", self._language, what=what, **values)
        if doubtful:
            text = f"{text}\n{say('post', 'doubtful', self._language)}"
        subject = say("post", f"bell_{phase}_subject", self._language)
        blanks = {"count": "1", "number": "", "what": what, "due": values["since"]}
        return Message(f"alarm-{alarm.id}-{phase}", subject, text, doubtful, blanks)


def _rung(alarm: AlarmRow) -> dict[str, Any]:
    known: dict[str, Any] = alarm.data.get("bell", {})
    return known


def _is_free(alarm: AlarmRow, now: datetime) -> bool:
    tried_at = _rung(alarm).get("tried_at")
    return tried_at is None or datetime.fromisoformat(tried_at) + AGAIN_AFTER <= now

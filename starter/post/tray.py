"""The tray: what is on its way out, in whose hands, and what became of it. The same for notices and for letters."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from sqlalchemy import ColumnElement
from sqlmodel import col, or_

from models.tables.post import Outgoing

LEASE = timedelta(minutes=3)
"""How long one sender has something in hand: longer than any channel may take. After it somebody else tries, and says that it may be the second time."""
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=10), timedelta(minutes=15)


class Verdict(NamedTuple):
    """What a channel made of a message, and why: a code.

    `later`: certainly not taken, try again. `unsure`: perhaps taken, try again and say so. `never`: it will not be.
    """

    taken: Literal["delivered", "later", "unsure", "never"]
    why: str = ""


DELIVERED = Verdict("delivered")


def is_free(row: type[Outgoing], now: datetime) -> ColumnElement[bool]:
    """What waits in nobody's hands."""
    return (col(row.state) == "waiting") & or_(col(row.leased_until).is_(None), col(row.leased_until) <= now)


def ready(row: type[Outgoing], now: datetime) -> ColumnElement[bool]:
    """What somebody may take in hand."""
    return is_free(row, now) & (col(row.next_try_at) <= now)


def take(rows: Iterable[Outgoing], holder: str, now: datetime) -> bool:
    """Take rows in hand together. Whether they may have been accepted before: somebody had them and never said."""
    rows = list(rows)
    unsaid = any(row.leased_by is not None for row in rows)
    for row in rows:
        row.doubtful |= unsaid
        row.leased_by, row.leased_until = holder, now + LEASE
        row.attempts += 1
        row.first_tried_at = row.first_tried_at or now
    return any(row.doubtful for row in rows)


def settle(
    rows: Sequence[Outgoing], verdict: Verdict, now: datetime, patience: timedelta
) -> Literal["delivered", "waiting", "undeliverable"]:
    """Write what became of them. What somebody else has delivered meanwhile stays so."""
    outcome: Literal["delivered", "waiting", "undeliverable"] = "waiting"
    for row in rows:
        row.leased_by = row.leased_until = None
        if row.state != "waiting":
            continue
        if verdict.taken == "delivered":
            row.state, row.delivered_at, row.failed = "delivered", now, None
        else:
            row.failed = verdict.why
            row.doubtful |= verdict.taken == "unsure"
            tried_for = now - (row.first_tried_at or now)
            if verdict.taken == "never" or tried_for >= patience:
                row.state = "undeliverable"
            else:
                row.next_try_at = now + pause_after(row.attempts)
        outcome = row.state  # type: ignore[assignment]
    return outcome


def pause_after(attempts: int) -> timedelta:
    """How long before the next attempt: doubling."""
    return min(FIRST_PAUSE * (1 << min(attempts - 1, 10)), LONGEST_PAUSE)


class Silence:
    """Channels that do not answer: asked now and then only, so that they hold up no other."""

    AFTER = 3
    PROBE = timedelta(seconds=30)

    def __init__(self) -> None:
        self._failures: dict[str, int] = {}
        self._until: dict[str, datetime] = {}

    def note(self, channel: str, verdict: Verdict, now: datetime) -> bool:
        """Whether a channel that was silent has spoken again."""
        if verdict.taken in ("delivered", "never"):
            self._failures.pop(channel, None)
            return self._until.pop(channel, None) is not None
        self._failures[channel] = self._failures.get(channel, 0) + 1
        if self._failures[channel] >= self.AFTER and verdict.why == UNREACHABLE:
            self._until[channel] = now + self.PROBE
        return False

    def now(self, now: datetime) -> list[str]:
        """The channels that are not to be asked yet. One whose time has come is asked once, until it answers."""
        return [channel for channel, until in self._until.items() if until > now]


UNREACHABLE = "unreachable"

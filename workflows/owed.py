"""What a case owes: a form, its clock and its ladder; and the ways out of `run()`."""

from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from models.entries import Armed, Because, Change
from models.forms import Form
from models.promises import Promise

F = TypeVar("F", bound=Form)
Kept = tuple["type[Form] | Owed[Any]", ...]
"""What is owed on where a stretch is left: all of a form, or a task."""


class Ended(Exception):
    """A case leaves by a side exit. Raised at whatever await its `run()` stands."""

    def __init__(self, because: str) -> None:
        super().__init__(because)
        self.because = because


class Left(Ended):
    """A stretch of `run()` is left by a side exit, `keeping` some of what is owed; what comes after it is owed all the same."""

    def __init__(self, because: str, keeping: Kept = ()) -> None:
        super().__init__(because)
        self.keeping = keeping


@dataclass
class Stretch:
    """A part of `run()`, and when it was over: `run()` says so at its end, `leave` where it was left."""

    over_at: datetime | None = None


class Waiting(Protocol):
    """Who owes: the desk of a case."""

    @property
    def instant(self) -> datetime: ...

    def wait_for(self, owed: "Owed[F]") -> Coroutine[Any, Any, F]: ...


class Owed(Generic[F]):
    """A form some role owes this case, its clock, and who waits for it: `await` gives the form, however late."""

    def __init__(
        self, desk: Waiting, key: str, form: type[F], promise: Promise, because: Because, after: type[Form] | None
    ):
        self._desk = desk
        self.key = key
        self.form = form
        self.after = after
        self.because = because
        self.due = promise.due(because.anchored_at)
        self.ladder = promise.ladder
        self.owed_at = desk.instant
        self.generation = 0
        self.rung = 0
        self.escalated_at: datetime | None = None
        self.breached: int | None = None  # the last rung that told of a breach
        self.climbs_at: datetime | None = None
        self.hops = 0
        self.answer: F | None = None
        self.met = False
        self.withdrawn = False

    def __await__(self) -> Generator[Any, None, F]:
        return self._desk.wait_for(self).__await__()

    @property
    def clock(self) -> tuple[type[F], str, datetime]:
        """What is owed, under which promise, since when: two tasks of one clock are one obligation."""
        return self.form, self.because.promise, self.because.anchored_at

    @property
    def is_open(self) -> bool:
        return self.answer is None and not self.met and not self.withdrawn

    def is_kept(self, keeping: Kept) -> bool:
        return self in keeping or self.form in keeping

    def planned(self, rung: int) -> datetime:
        """When a rung is to fire. After an escalation the next one keeps its distance, however late the first one was."""
        planned = self.due + self.ladder[rung].after
        if rung == self.rung and self.escalated_at:
            return max(planned, self.escalated_at + self.ladder[rung].after - self.ladder[rung - 1].after)
        return planned

    @property
    def next_rung_at(self) -> datetime | None:
        """When the next one fires, or the last one climbs because nobody has acknowledged it."""
        if not self.is_open:
            return None
        planned = [self.planned(self.rung)] if self.rung < len(self.ladder) else []
        return min([*planned, *([self.climbs_at] if self.climbs_at else [])], default=None)

    @property
    def climbs(self) -> bool:
        """Whether what comes next is somebody further up hearing of the last breach."""
        return self.climbs_at is not None and (
            self.rung >= len(self.ladder) or self.climbs_at < self.planned(self.rung)
        )

    def armed(self) -> list[Armed]:
        return [
            Armed(rung=rung, after=self.ladder[rung].after, tell=self.ladder[rung].tell, planned_at=self.planned(rung))
            for rung in range(self.rung, len(self.ladder))
        ]

    def climbs_on_from(self, before: "Owed[F]") -> None:
        """The same clock: its due time as it was moved, and who has heard of it does not hear again."""
        self.due, self.owed_at = before.due, before.owed_at
        self.because = self.because.model_copy(update={"changes": before.because.changes})
        self.rung, self.escalated_at = before.rung, before.escalated_at

    def fired(self, at: datetime, climbs_at: datetime | None, hops: int) -> None:
        self.escalated_at = None if self.ladder[self.rung].is_reminder else at
        self.breached = None if self.ladder[self.rung].is_reminder else self.rung
        self.climbs_at, self.hops = climbs_at, hops
        self.rung += 1

    def move(self, change: Change) -> None:
        """Set a new due time and arm again every rung that still lies ahead of it."""
        self.because = self.because.model_copy(update={"changes": [*self.because.changes, change]})
        self.due = change.due_at
        self.generation += 1
        self.escalated_at = self.breached = self.climbs_at = None
        gone = (rung.is_reminder and self.due + rung.after <= self._desk.instant for rung in self.ladder)
        self.rung = sum(
            gone
        )  # of the others none: whatever the clocks say, somebody hears when the new time has passed

"""What a case owes: a form, its clock and its ladder."""

from collections.abc import Coroutine, Generator
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from models.entries import Armed, Because, Change, DueRung, Fired
from models.forms import Form, Stamp
from models.promises import Promise

F = TypeVar("F", bound=Form)


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
        self.offered_to: str | None = None  # to whom its owner would give it
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

    def due_rung(self, *, case: str, now: datetime, silent: bool, urgent: bool, known: list[str]) -> DueRung:
        """What comes next, for the ledger to fire; told to nobody where that is `silent`, or a reminder that comes too late."""
        nth = self.breached if self.climbs else self.rung
        assert self.next_rung_at is not None
        assert nth is not None
        rung = self.ladder[nth]
        return DueRung(
            case=case,
            task=self.key,
            generation=self.generation,
            rung=nth,
            tell=rung.tell,
            planned_at=self.next_rung_at,
            now=now,
            silent=silent or (rung.is_reminder and self.due <= now),
            acknowledge=rung.acknowledge,
            urgent=urgent,
            hop=self.hops + 1 if self.climbs else 0,
            known=known,
        )

    def fired(self, rung: DueRung, fired: Fired) -> None:
        self.climbs_at = fired.climbs_at
        if rung.hop:
            self.hops = rung.hop
            return
        self.hops = fired.hops
        self.escalated_at = None if self.ladder[self.rung].is_reminder else fired.at
        self.breached = None if self.ladder[self.rung].is_reminder else self.rung
        self.rung += 1

    def move(self, due_at: datetime, wanted: Stamp, allowed: Form | None) -> None:
        """Set a new due time and arm again every rung that still lies ahead of it."""
        change = Change(due_before=self.due, due_at=due_at, by=wanted.by, submission=wanted.submission)
        if allowed:
            change = change.model_copy(update={"allowed_by": allowed.stamp.by, "allowed": allowed.stamp.submission})
        self.because = self.because.model_copy(update={"changes": [*self.because.changes, change]})
        self.due = due_at
        self.generation += 1
        self.escalated_at = self.breached = self.climbs_at = None
        # of the others none is gone: whatever the clocks say, somebody hears when the new time has passed
        self.rung = sum(rung.is_reminder and self.due + rung.after <= wanted.at for rung in self.ladder)

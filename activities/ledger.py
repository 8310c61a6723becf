"""The one writer of facts: what happened to a case, in one transaction; and rungs, which fire only when nothing earlier waits."""

from collections.abc import Callable
from datetime import UTC, datetime

import structlog
from sqlmodel import Session
from temporalio import activity

from activities.cases import Held, locked
from activities.database import Database
from activities.entries import Entries
from activities.keys import KeyRing
from activities.notices import Notices
from activities.rungs import Firing
from activities.submissions import undecided
from models.entries import DueRung, Fired, Recording
from models.organisation import Who
from models.tables import SubmissionRow

log = structlog.get_logger()


class Ledger:
    """The activities that write the ledger. Either may run twice with the same input: the first write of a key wins.

    A timeout raises nothing in their threads: an exception in the middle of a driver's call ruins the connection.
    """

    def __init__(
        self,
        database: Database,
        keys: KeyRing,
        people: Who,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._keys = keys
        self._people = people
        self._clock = clock  # for when something was kept; when it happened, the case says

    @activity.defn(no_thread_cancel_exception=True)
    def record(self, recording: Recording) -> None:
        """Keep all that happened to a case in one instant, and what follows from it on the screens."""
        with self._database.writing() as session:
            case = self._held(session, recording.case)
            notices = Notices(case)
            entries = Entries(case, self._keys, notices)
            new = entries.new(recording.entries)
            for entry in new:
                entries.write(entry)
            for submission, refusal in recording.refused.items():
                if row := session.get(SubmissionRow, submission):  # gone where an older backup was restored
                    row.refusal = refusal.model_dump()
            session.flush()
            notices.tell_owners(new)
            case.row.due_at = case.first_due()

    @activity.defn(no_thread_cancel_exception=True)
    def fire(self, due: DueRung) -> Fired:
        """Fire a rung, unless something recorded by then is still to be decided: then write nothing and hand that back."""
        with self._database.writing() as session:
            case = self._held(session, due.case)
            if earlier := undecided(session, due):
                return Fired(earlier=earlier)
            rung = Firing(case, due, self._clock)
            if written := rung.written_before:
                return written
            if rung.is_over:
                log.warning("rung.too_late", case=due.case, task=due.task)  # an attempt that was given up long ago
                return Fired(at=due.now)
            told = rung.climb() if due.hop else rung.fire()
            case.row.last_instant = max(case.row.last_instant, due.now)
        for notice in told:
            log.info("notice", what=notice.what, to=notice.person, case=due.case, task=due.task)
        return rung.written

    def _held(self, session: Session, case: str) -> Held:
        """The case to ourselves; what the engine is given of it, and what it gets back, is sealed with a key that its row names."""
        row = locked(session, case)
        row.keys = self._keys.noted(row.keys)
        return Held(session, row, self._people)

"""The calendar's openings: what is due, what was missed, and opening it, each case once whoever does it and however often.

A Schedule of the engine starts the openings (`schedules.py`), the watch opens what nobody did (`keeper.py`), and a person may
by hand. All of them come here. What makes it exact is the ledger: a case is unique by process and number.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from time import sleep
from typing import TypeVar

import structlog
from sqlmodel import col, select

from activities.database import once_more
from models.calendar import Period, Rhythm, between
from models.forms import Case
from models.people import CALENDAR
from models.tables import CaseRow, PeriodRow
from models.tasks import Process
from settings import House
from starter.calendar.openings import OPENINGS, CasesOf
from starter.refusals import NotFound, Refused
from starter.submissions import Submissions
from workflows import PROCESSES

AT_ONCE = 20
"""Cases in one transaction: no form of somebody else waits longer for it."""
BREATH = 0.05
"""Seconds between two transactions: who waits for the ledger meanwhile comes first."""
FURTHEST_BACK = timedelta(days=366)
"""What was missed longer ago is opened by hand, if at all."""
INSTALLED = "installed"

T = TypeVar("T")
log = structlog.get_logger()


@dataclass(frozen=True)
class Opened:
    """What became of a period: how many cases it has, how many of them were opened just now, how many the door refused."""

    cases: int
    new: int
    refused: int


@dataclass(frozen=True)
class Entry:
    """A process of the calendar, on the screen."""

    process: str
    rhythm: Rhythm
    next: Period
    last: list[PeriodRow]
    """What was opened, the latest first."""
    missed: list[Period]


class Almanac:
    """What the calendar of this house opens. `clock` gives the present instant, UTC."""

    def __init__(
        self,
        house: House,
        submissions: Submissions,
        clock: Callable[[], datetime],
        processes: Mapping[str, Process] = PROCESSES,
        openings: Mapping[str, CasesOf] = OPENINGS,
    ) -> None:
        self._house = house
        self._database = house.database
        self._submissions = submissions
        self._clock = clock
        self._openings = openings
        self.processes = {name: process for name, process in processes.items() if process.opens}
        if lacking := self.processes.keys() - openings.keys():
            raise LookupError(f"starter/calendar/openings.py does not say what the calendar opens of {sorted(lacking)}")

    @property
    def zone(self) -> str:
        return self._house.settings.zone

    def rhythm(self, process: str) -> Rhythm:
        """NotFound where the calendar opens nothing of it."""
        if process not in self.processes:
            raise NotFound("not_in_calendar", process=process, processes=", ".join(self.processes) or "–")
        rhythm = self.processes[process].opens
        assert rhythm
        return rhythm

    # What is there

    @once_more
    def begin(self) -> None:
        """A process that is new to this ledger opens from its next period on: years of the past are not ours to open."""
        with self._database.reading() as session:
            known = set(session.exec(select(PeriodRow.process).distinct()))
        if not (new := self.processes.keys() - known):
            return
        now = self._clock()
        with self._database.writing() as session:
            for process in sorted(new):
                period = self.rhythm(process).last(now, self.zone)
                row = PeriodRow(process=process, period=period.name, at=period.at, opened_at=now, by=INSTALLED, cases=0)
                if session.get(PeriodRow, (process, period.name)) is None:
                    session.add(row)

    def missed(self, until: datetime) -> list[tuple[str, Period]]:
        """Periods since it was installed that were to open by an instant and did not, the oldest first."""
        with self._database.reading() as session:
            rows = session.exec(select(PeriodRow).order_by(col(PeriodRow.opened_at), col(PeriodRow.at).desc())).all()
        opened = {(row.process, row.period) for row in rows}
        installed: dict[str, datetime] = {}
        for row in rows:
            installed.setdefault(row.process, row.at)
        found: list[tuple[str, Period]] = []
        for process in self.processes:
            since = max(installed.get(process, until), until - FURTHEST_BACK)
            periods = between(self.rhythm(process), since, until, self.zone)
            found += [(process, period) for period in periods if (process, period.name) not in opened]
        return sorted(found, key=lambda each: (each[1].at, each[0]))

    def is_opened(self, process: str, period: Period) -> bool:
        """Whether somebody has meanwhile."""
        with self._database.reading() as session:
            return session.get(PeriodRow, (process, period.name)) is not None

    def entries(self, shown: int = 3) -> list[Entry]:
        """What opens when, by process."""
        now = self._clock()
        missed = self.missed(now)
        found = []
        for process in sorted(self.processes):
            rhythm = self.rhythm(process)
            of_process = select(PeriodRow).where(PeriodRow.process == process).order_by(col(PeriodRow.at).desc())
            with self._database.reading() as session:
                last = list(session.exec(of_process.limit(shown)))
            upcoming = rhythm.after(rhythm.last(now, self.zone))
            late = [period for of, period in missed if of == process]
            found.append(Entry(process, rhythm, upcoming, last, late))
        return found

    # Opening

    def open_due(self, process: str, at: datetime, alive: Callable[[], object] = lambda: None) -> int:
        """Open the period that began last at an instant, if nobody has; how many cases were new. `alive` is called now and then."""
        period = self.rhythm(process).last(at, self.zone)
        with self._database.reading() as session:
            done = session.get(PeriodRow, (process, period.name))
        return 0 if done and done.by != INSTALLED else self.open(process, period, CALENDAR.id, alive).new

    def open(self, process: str, period: Period, by: str, alive: Callable[[], object] = lambda: None) -> Opened:
        """Open every case of a period that is not there yet, a few in a transaction; then note that it was done."""
        self.begin()
        known = self.processes[process]
        cases = new = refused = 0
        for some in _batched(self._openings[process](self._house, period, self._clock()), AT_ONCE):
            added, not_taken = self._open_some(known, some)
            cases, new, refused = cases + len(some) - not_taken, new + added, refused + not_taken
            alive()
            sleep(BREATH)
        self._note(process, period, by, cases, refused)
        log.info("calendar.opened", process=process, period=period.name, cases=cases, new=new, by=by)
        return Opened(cases, new, refused)

    @once_more
    def _open_some(self, process: Process, cases: list[Case]) -> tuple[int, int]:
        """How many were opened, and how many the door would not take: those hold up none of the others."""
        added = refused = 0
        with self._database.writing() as session:
            numbers = [case.number for case in cases]
            there = set(
                session.exec(
                    select(CaseRow.number).where(CaseRow.process == process.name, col(CaseRow.number).in_(numbers))
                )
            )
            for case in cases:
                if case.number in there:
                    continue
                try:
                    opened = self._submissions.open_in(session, process, case, CALENDAR)
                except Refused as error:
                    log.error("calendar.refused", process=process.name, number=case.number, reason=error.code)
                    refused += 1
                else:
                    added += opened.first
        return added, refused

    @once_more
    def _note(self, process: str, period: Period, by: str, cases: int, refused: int) -> None:
        with self._database.writing() as session:
            row = session.get(PeriodRow, (process, period.name))
            now = self._clock()
            if row is None:
                row = PeriodRow(process=process, period=period.name, at=period.at, opened_at=now, by=by, cases=cases)
            elif row.by == INSTALLED:
                row.by = by
            row.cases, row.refused = cases, refused
            session.add(row)


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    several = iter(items)
    while some := list(islice(several, size)):
        yield some

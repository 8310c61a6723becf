"""`kefu doctor`: did everything happen that should have, once, and is the ledger what the engine runs? It changes nothing."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from heapq import nlargest
from typing import Any

from pydantic import BaseModel, computed_field
from sqlmodel import Session, and_, col, func, or_, select
from temporalio.service import RPCError

from activities.duplicates import LOST
from models import policy
from models.canary import CANARY, CanaryIntake
from models.complaint.forms import Absorb
from models.people import Role
from models.tables import ArchiveRow, CaseRow, DeadlineRow, EventRow, NoticeRow, SubmissionRow, TaskRow, WatchRow
from models.tasks import OPENING
from models.words import Language, say
from starter.access import of_the_department
from starter.front import Front
from starter.watching import canary, lateness, reconciler
from starter.watching.lateness import Late, Spread
from starter.watching.reconciler import UNREACHABLE
from starter.watching.watchdog import unclimbed

GRACE = timedelta(minutes=1)
"""What is on its way for less than this is no fault."""
SOON = timedelta(hours=1)
KINDS = (
    *("rung_missed", "rung_early", "rung_unfair", "rung_silent", "rung_doubled"),
    *("rung_unclimbed", "rung_unplanned"),
    *("submission_undecided", "decided_without_trace", "refused_yet_taken"),
    *("archive_missing", "archive_owes", "archive_early", "notice_unsent", LOST, canary.SILENT, "nobody_watches"),
    *(*reconciler.REPAIRED, *reconciler.NAMED, reconciler.WEDGED, reconciler.SILENT, reconciler.DIFFERS, UNREACHABLE),
)
"""All that may be wrong."""
LISTED = 50
"""So many of those who were late are listed: of people, and of the system's rungs."""
NAMED = 1000
"""So many cases are given with their business numbers."""


class Fault(BaseModel):
    """Something that should not be: what, in which case, what is known of it, and what to do."""

    kind: str
    what_to_do: str = ""
    """Also what is wrong, in words."""
    case: str | None = None
    number: str | None = None
    about: str | None = None
    data: dict[str, Any] = {}


class Examination(BaseModel):
    """What the doctor found for a period (UTC, the end excluded)."""

    since: datetime
    until: datetime
    at: datetime
    cases: int = 0
    submissions: int = 0
    rungs: dict[str, int] = {}
    """Planned rungs by what became of them: fired, or why not."""
    late_people: int = 0
    """Tasks of the period that were handed in after their due time, or are overdue now."""
    late_system: int = 0
    """Rungs that fired more than a minute after they could have."""
    slowest_system: timedelta = timedelta(0)
    fired: Spread = Spread()
    """The system: from when a rung of the period could fire until it did."""
    delivered: dict[str, Spread] = {}
    """The system: until a channel had taken its notice, by channel."""
    overdue: Spread = Spread()
    """People: from the due time of a late task until it was done, or until now."""
    late: list[Late] = []
    """Who was late by most, of either kind, the longest first."""
    cases_due_soon: int = 0
    """Cases with a clock that rings within the hour: more than the workers' cache holds makes them slow."""
    cache: int = 0
    faults: list[Fault] = []

    @computed_field  # type: ignore[prop-decorator]
    @property
    def cache_is_small(self) -> bool:
        return self.cases_due_soon > self.cache


async def examine(
    front: Front, since: datetime, until: datetime, now: datetime, *, quick: bool = False, language: Language = "zh"
) -> Examination:
    """Look at all that was planned, sent or open in a period. `quick` asks the engine for its list, not every case."""
    with front.house.database.reading() as session:
        rules = CanaryIntake.model_validate(policy.intake(CANARY, front.house.settings.policy))
        found = Ward(session, since, until, now, rules.bound).examined()
    found.cache = front.house.settings.max_cached_workflows
    try:
        differences = await front.reconciler.examine(everything=not quick)
    except (RPCError, RuntimeError) as error:
        found.faults.append(Fault(kind=UNREACHABLE, data={"reason": type(error).__name__}))
    else:
        found.faults += [Fault(kind=f.kind, case=f.case, about=f.about, data=f.data) for f in differences]
    with front.house.database.reading() as session:
        numbers = _numbers(session, {fault.case for fault in found.faults if fault.case})
    for fault in found.faults:
        fault.number = numbers.get(fault.case or "")
        fault.what_to_do = say("doctor", fault.kind, language)
    return found


class Ward:
    """The ledger's side of it, in one view of the ledger."""

    def __init__(
        self, session: Session, since: datetime, until: datetime, now: datetime, canarys_bound: timedelta
    ) -> None:
        self._session = session
        self._since = since
        self._until = until
        self._now = now
        self._canarys_bound = canarys_bound
        self._rungs: Counter[str] = Counter()
        self._late: list[Late] = []

    def examined(self) -> Examination:
        ladders = [*self._ladders(), *self._unclimbed(), *self._unplanned()]
        faults = [*ladders, *self._submissions(), *self._archives(), *self._notices(), *self._lost(), *self._watches()]
        planned = self._within(DeadlineRow.planned_at)
        people = lateness.people(self._session, self._now, *self._within(TaskRow.due_at))
        longest = [late for of in (self._late, people) for late in nlargest(LISTED, of, key=_span)]
        return Examination(
            since=self._since,
            until=self._until,
            at=self._now,
            cases=self._count(CaseRow, CaseRow.opened_at < self._until, self._was_open(), of_the_department()),
            submissions=self._count(SubmissionRow, *self._within(SubmissionRow.recorded_at), self._is_somebodys()),
            rungs=dict(sorted(self._rungs.items())),
            late_people=len(people),
            fired=Spread.of(lateness.fired(self._session, *planned)),
            delivered={name: Spread.of(late) for name, late in lateness.delivered(self._session, *planned).items()},
            overdue=Spread.of([late.span for late in people]),
            late_system=len(self._late),
            slowest_system=max(map(_span, self._late), default=timedelta(0)),
            late=sorted(longest, key=_span, reverse=True),
            cases_due_soon=self._due_soon(),
            faults=faults,
        )

    # Ladders

    def _ladders(self) -> Iterator[Fault]:
        """Every rung planned in the period: fired exactly once, or a reason why not."""
        moves = self._instants("moved/")
        closes = self._instants("closed/")
        told = self._told()
        rang = self._rang()
        waiting: set[tuple[str, str, int]] = set()
        for rung, task, number, entered_at in self._planned():
            ladder = (rung.case_id, rung.task, rung.generation)
            place = f"{rung.task}/{rung.generation}/{rung.rung}"
            ended_at = moves.get((rung.case_id, f"moved/{rung.task}/{rung.generation + 1}")) or closes.get(
                (rung.case_id, f"closed/{rung.task}")
            )
            if rung.fired_at:
                kinds = [*self._wrong_with(rung, ended_at, told[rung.case_id, place], (rung.case_id, place) in rang)]
                self._note(rung, number, entered_at)
            else:
                kinds = self._missed(rung, task, ended_at)
                if kinds and ladder in waiting:  # it waits for the one before, and is no news
                    kinds = []
                elif kinds:
                    waiting.add(ladder)
            for kind in kinds:
                yield Fault(kind=kind, case=rung.case_id, about=place, data=_instants_of(rung))

    def _unclimbed(self) -> Iterator[Fault]:
        """Breaches that nobody acknowledged, and of which the next in line has not heard."""
        for rung in self._session.exec(unclimbed(self._now - GRACE).where(*self._within(DeadlineRow.climbs_at))):
            about = f"{rung.task}/{rung.generation}/{rung.rung}/{rung.hops + 1}"
            data = {"climbs_at": rung.climbs_at and rung.climbs_at.isoformat()}
            yield Fault(kind="rung_unclimbed", case=rung.case_id, about=about, data=data)

    def _unplanned(self) -> Iterator[Fault]:
        """What fired, by the case's own record, and was never planned."""
        of_rung = (col(EventRow.key).startswith("rung/"), *self._within(EventRow.at))
        cases = select(EventRow.case_id).where(*of_rung)
        rows = self._session.exec(select(DeadlineRow).where(col(DeadlineRow.case_id).in_(cases)))
        planned = {(rung.case_id, f"rung/{rung.task}/{rung.generation}/{rung.rung}") for rung in rows}
        for event in self._session.exec(select(EventRow).where(*of_rung).order_by(col(EventRow.id))):
            if (event.case_id, "/".join(event.key.split("/")[:4])) not in planned:
                data = {"fired_at": event.at.isoformat()}
                yield Fault(kind="rung_unplanned", case=event.case_id, about=event.key, data=data)

    def _planned(self) -> Iterator[tuple[DeadlineRow, TaskRow, str, datetime | None]]:
        of_task = and_(col(TaskRow.case_id) == DeadlineRow.case_id, col(TaskRow.key) == DeadlineRow.task)
        order = (DeadlineRow.case_id, DeadlineRow.task, DeadlineRow.generation, DeadlineRow.rung)
        rows = self._session.exec(
            select(DeadlineRow, TaskRow, CaseRow.number, CaseRow.entered_at)
            .join(TaskRow, of_task)
            .join(CaseRow, col(CaseRow.id) == DeadlineRow.case_id)
            .where(*self._within(DeadlineRow.planned_at), TaskRow.owner_role != Role.SYSTEM)
            .order_by(*(col(column) for column in order))
        )
        yield from rows

    def _wrong_with(self, rung: DeadlineRow, ended_at: datetime | None, notices: int, rang: bool) -> Iterator[str]:
        assert rung.fired_at
        if rung.fired_at < rung.planned_at:
            yield "rung_early"
        if ended_at and ended_at <= rung.planned_at:
            yield "rung_unfair"
        if not rang or notices < (not rung.passed):
            yield "rung_silent"
        if notices > (not rung.passed):
            yield "rung_doubled"

    def _missed(self, rung: DeadlineRow, task: TaskRow, ended_at: datetime | None) -> list[str]:
        """Nothing fired: for a reason, or not yet, or it should have."""
        if ended_at and ended_at <= rung.planned_at:
            moved = rung.generation < task.generation
            self._rungs["moved" if moved else "withdrawn" if task.state == "withdrawn" else "answered_in_time"] += 1
            return []
        if not ended_at and max(rung.planned_at, rung.armed_at) + GRACE > self._now:
            self._rungs["not_yet"] += 1
            return []
        return ["rung_missed"]

    def _note(self, rung: DeadlineRow, number: str, entered_at: datetime | None) -> None:
        foreign = rung.passed and entered_at is not None and rung.planned_at < entered_at
        self._rungs["before_it_came" if foreign else "overtaken" if rung.passed else "fired"] += 1
        heard_at = rung.delivered_at or rung.fired_at
        if rung.system_was_late and not foreign and heard_at:
            span = heard_at - max(rung.planned_at, rung.armed_at)
            of_rung = {"case": rung.case_id, "task": rung.task, "rung": rung.rung}
            self._late.append(Late(**of_rung, number=number, by="system", span=span))

    def _instants(self, prefix: str) -> dict[tuple[str, str], datetime]:
        """When tasks moved or closed: of the cases with rungs in the period."""
        rows = self._session.exec(
            select(EventRow.case_id, EventRow.key, EventRow.at).where(
                col(EventRow.key).startswith(prefix), col(EventRow.case_id).in_(self._cases_with_rungs())
            )
        )
        return {(case, key): at for case, key, at in rows}

    def _rang(self) -> set[tuple[str, str]]:
        rows = self._session.exec(
            select(EventRow.case_id, EventRow.key).where(
                col(EventRow.key).startswith("rung/"), col(EventRow.case_id).in_(self._cases_with_rungs())
            )
        )
        return {(case, key.removeprefix("rung/")) for case, key in rows}

    def _told(self) -> Counter[tuple[str, str]]:
        """How many notices there are of each rung, to the person it fired for."""
        rows = self._session.exec(
            select(NoticeRow.case_id, NoticeRow.key).where(
                col(NoticeRow.what).in_(("reminder", "overdue")), col(NoticeRow.case_id).in_(self._cases_with_rungs())
            )
        )
        return Counter((case or "", key.removeprefix(f"{case}/")) for case, key in rows)

    def _cases_with_rungs(self) -> Any:
        return select(DeadlineRow.case_id).where(*self._within(DeadlineRow.planned_at)).distinct()

    # The rest

    def _submissions(self) -> Iterator[Fault]:
        """Each is decided, and what was taken has left a trace; what a duplicate leaves, only where it is due sooner."""
        trace = select(EventRow.id).where(
            EventRow.submission == SubmissionRow.id, EventRow.case_id == SubmissionRow.case_id
        )
        rows = self._session.exec(
            select(SubmissionRow, CaseRow.entered_at, trace.exists())
            .join(CaseRow)
            .where(*self._within(func.coalesce(SubmissionRow.decided_at, SubmissionRow.recorded_at)))
            .where(or_(SubmissionRow.state == "pending", (SubmissionRow.state == "decided") != trace.exists()))
        )
        kinds = {"decided": "decided_without_trace", "refused": "refused_yet_taken"}
        for row, entered_at, _ in rows:
            if row.state == "decided" and row.form == Absorb.form:
                continue
            if row.state != "pending":
                yield Fault(kind=kinds[row.state], case=row.case_id, about=row.id)
            elif max(row.recorded_at, entered_at or row.recorded_at) + GRACE < self._now:
                yield Fault(
                    kind="submission_undecided", case=row.case_id, about=row.id, data={"attempts": row.attempts}
                )

    def _archives(self) -> Iterator[Fault]:
        """Closed is archived, and nothing is owed any more."""
        archived = select(ArchiveRow.case_id).where(ArchiveRow.case_id == CaseRow.id).exists()
        owing = select(TaskRow.key).where(TaskRow.case_id == CaseRow.id, TaskRow.state == "open").exists()
        rows = self._session.exec(
            select(CaseRow.id, CaseRow.state, archived, owing)
            .where(CaseRow.opened_at < self._until, self._was_open())
            .where(or_((CaseRow.state == "archived") != archived, and_(CaseRow.state == "archived", owing)))
        )
        for case, state, kept, _ in rows:
            kind = "archive_early" if state == "open" else "archive_owes" if kept else "archive_missing"
            yield Fault(kind=kind, case=case)

    def _notices(self) -> Iterator[Fault]:
        rows = self._session.exec(
            select(NoticeRow)
            .join(SubmissionRow, col(SubmissionRow.id) == NoticeRow.submission, isouter=True)
            .where(col(NoticeRow.delivered_at).is_(None), NoticeRow.created_at < self._now - GRACE)
            .where(or_(col(NoticeRow.submission).is_(None), SubmissionRow.state != "pending"))
            .where(*self._within(NoticeRow.created_at))
        )
        for row in rows:
            yield Fault(kind="notice_unsent", case=row.case_id, about=str(row.id), data={"what": row.what})

    def _lost(self) -> Iterator[Fault]:
        """What a duplicate left to nobody, until somebody has opened a case that names it as `earlier`."""
        again = select(SubmissionRow.id).where(
            SubmissionRow.form == OPENING, col(SubmissionRow.outline)["earlier"].as_string() == CaseRow.number
        )
        rows = self._session.exec(
            select(CaseRow.id, NoticeRow.data)
            .join(CaseRow, col(CaseRow.id) == NoticeRow.case_id)
            .where(NoticeRow.what == LOST, ~again.exists(), *self._within(NoticeRow.created_at))
        )
        for case, data in rows:
            yield Fault(kind=LOST, case=case, data=data)

    def _watches(self) -> Iterator[Fault]:
        """Somebody watches, and did so just now."""
        last = self._session.exec(select(WatchRow.at).where(WatchRow.name == "watchdog")).first()
        if last is None or last + GRACE < self._now:
            yield Fault(kind="nobody_watches", data={"last": last.isoformat() if last else None})
        for case, since in canary.silent(self._session, self._since, self._canarys_bound, self._now):
            yield Fault(kind=canary.SILENT, case=case, data={"since": since.isoformat()})

    def _due_soon(self) -> int:
        cases = (
            select(func.count(func.distinct(DeadlineRow.case_id)))
            .join(TaskRow, and_(col(TaskRow.case_id) == DeadlineRow.case_id, col(TaskRow.key) == DeadlineRow.task))
            .where(TaskRow.state == "open", TaskRow.generation == DeadlineRow.generation)
            .where(TaskRow.owner_role != Role.SYSTEM)
            .where(col(DeadlineRow.fired_at).is_(None), DeadlineRow.planned_at < self._now + SOON)
        )
        return self._session.exec(cases).one()

    def _was_open(self) -> Any:
        return or_(col(CaseRow.closed_at).is_(None), col(CaseRow.closed_at) >= self._since)

    def _is_somebodys(self) -> Any:
        return col(SubmissionRow.case_id).in_(select(CaseRow.id).where(of_the_department()))

    def _within(self, column: Any) -> tuple[Any, Any]:
        return column >= self._since, column < self._until

    def _count(self, table: Any, *conditions: Any) -> int:
        return self._session.exec(select(func.count()).select_from(table).where(*conditions)).one()


def _numbers(session: Session, cases: set[str]) -> dict[str, str]:
    named = sorted(cases)[:NAMED]
    return dict(session.exec(select(CaseRow.id, CaseRow.number).where(col(CaseRow.id).in_(named))).all())


def _span(late: Late) -> timedelta:
    return late.span


def _instants_of(rung: DeadlineRow) -> dict[str, Any]:
    return {"planned_at": rung.planned_at.isoformat(), "fired_at": rung.fired_at and rung.fired_at.isoformat()}

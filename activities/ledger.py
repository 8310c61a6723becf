"""The one writer of facts: what happened to a case, in one transaction; and rungs, which fire only when nothing earlier waits."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlmodel import Session, and_, col, func, or_, select
from temporalio import activity

from activities.callers import caller_of
from activities.database import Database
from activities.duplicates import lost
from activities.gathering import gather, lies_behind
from activities.keys import COLUMN, KeyRing
from models.entries import (
    Acknowledged,
    AnyEntry,
    Armed,
    CaseClosed,
    CaseOpened,
    CaseReopened,
    CycleBegun,
    DueRung,
    Entry,
    Fired,
    Noted,
    Recording,
    Sent,
    TaskDone,
    TaskMoved,
    TaskOwed,
    TaskReassigned,
    TaskWithdrawn,
    Told,
)
from models.organisation import Wanted, Who
from models.people import Role
from models.tables import (
    ArchiveRow,
    AttachmentRow,
    CaseRow,
    DeadlineRow,
    EventRow,
    NoticeRow,
    NumberRow,
    SubmissionRow,
    TaskRow,
)
from models.tasks import Submission

WHAT_BEGINS = {"opened": "new", "reopened": "reopened"}
"""What the owners are told of, by what happened."""

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
            case = locked(session, recording.case)
            case.keys = self._keys.noted(case.keys)
            kept = self._kept(session, recording)
            for entry in recording.entries:
                if entry.key not in kept:
                    self._apply(session, case, entry)
                elif _said(_content(entry)) != _said(kept[entry.key]):
                    log.error("ledger.fork", case=case.id, key=entry.key)  # two histories of one case: never expected
            for submission, refusal in recording.refused.items():
                if row := session.get(SubmissionRow, submission):  # gone where an older backup was restored
                    row.refusal = refusal.model_dump()
            session.flush()
            self._tell_owners(session, case, [entry for entry in recording.entries if entry.key not in kept])
            case.due_at = session.exec(
                select(func.min(TaskRow.due_at)).where(
                    TaskRow.case_id == case.id, TaskRow.state == "open", col(TaskRow.by_itself).is_(False)
                )
            ).one()

    @activity.defn(no_thread_cancel_exception=True)
    def fire(self, due: DueRung) -> Fired:
        """Fire a rung, unless something recorded by then is still to be decided: then write nothing and hand that back."""
        with self._database.writing() as session:
            case = locked(session, due.case)
            case.keys = self._keys.noted(case.keys)  # what this returns is sealed with it, whatever it is
            if earlier := self._undecided(session, due):
                return Fired(earlier=earlier)
            deadline = session.get_one(DeadlineRow, (due.case, due.task, due.generation, due.rung))
            task = session.get_one(TaskRow, (due.case, due.task))
            if deadline.fired_at and deadline.hops >= due.hop:
                return Fired(at=deadline.fired_at, climbs_at=_climbs(deadline, task), hops=deadline.hops)
            if task.state != "open" or task.generation != due.generation:
                log.warning("rung.too_late", case=case.id, task=due.task)  # an attempt that was given up long ago
                return Fired(at=due.now)
            told = (self._climb if due.hop else self._fire)(session, case, task, deadline, due)
            case.last_instant = max(case.last_instant, due.now)
        for notice in told:
            log.info("notice", what=notice.what, to=notice.person, case=case.id, task=due.task)
        return Fired(at=due.now, climbs_at=deadline.climbs_at, hops=deadline.hops)

    def _undecided(self, session: Session, due: DueRung) -> list[Submission]:
        waiting = session.exec(
            select(SubmissionRow)
            .where(SubmissionRow.case_id == due.case, SubmissionRow.state == "pending")
            .where(SubmissionRow.recorded_at <= due.planned_at)
            .order_by(col(SubmissionRow.recorded_at))
        )
        return [as_submission(row) for row in waiting if row.id not in due.known]

    def _fire(
        self, session: Session, case: CaseRow, task: TaskRow, deadline: DeadlineRow, due: DueRung
    ) -> list[NoticeRow]:
        """Write that a rung fired; returns who hears: the ladder's person, and of a breach the owner, too."""
        deadline.planned_at, deadline.fired_at, deadline.passed = due.planned_at, due.now, due.silent
        deadline.person = task.owner if due.tell is Role.OWNER else self._who(session, due.tell, case, due.now)
        following = session.get(DeadlineRow, (due.case, due.task, due.generation, due.rung + 1))
        if following and deadline.after_seconds >= 0:  # the next one keeps its distance, and screens show it
            distance = timedelta(seconds=following.after_seconds - deadline.after_seconds)
            following.planned_at = max(following.planned_at, due.now + distance)
        session.add(
            EventRow(
                case_id=case.id,
                key=f"rung/{due.task}/{due.generation}/{due.rung}",
                kind="passed" if due.silent else "reminded" if deadline.after_seconds < 0 else "escalated",
                task=due.task,
                at=due.now,
                data={"rung": due.rung, "generation": due.generation, "role": due.tell, "person": deadline.person},
            )
        )
        if due.silent:
            return []
        deadline.delivered_at = max(due.now, self._clock())
        data = {"due_at": task.due_at.isoformat(), "owner": task.owner, "role": due.tell, "rung": due.rung}
        what = "reminder" if deadline.after_seconds < 0 else "overdue"
        deadline.climbs_at = self._climbs_at(session, case, due, [deadline.person])
        heard = {task.owner: "breached"} if what == "overdue" else {}
        heard[deadline.person] = what
        told = [
            NoticeRow(
                person=person,
                key=f"{case.id}/{due.task}/{due.generation}/{due.rung}",
                what=what,
                case_id=case.id,
                task=due.task,
                created_at=due.now,
                delivered_at=deadline.delivered_at,
                data=data,
            )
            for person, what in heard.items()
        ]
        gather(session, case, task, told)
        session.add_all(told)
        return told

    def _climb(
        self, session: Session, case: CaseRow, task: TaskRow, deadline: DeadlineRow, due: DueRung
    ) -> list[NoticeRow]:
        """Nobody has acknowledged a breach: the next in line hears, if there is one left who has not."""
        key = f"{case.id}/{due.task}/{due.generation}/{due.rung}"
        deadline.hops, deadline.climbs_at = due.hop, None
        told = list(
            session.exec(
                select(NoticeRow.person)
                .where(NoticeRow.case_id == case.id, col(NoticeRow.what).in_(("overdue", "unacknowledged")))
                .where(or_(NoticeRow.key == key, col(NoticeRow.key).startswith(f"{key}/", autoescape=True)))
                .order_by(col(NoticeRow.id))
            )
        )
        if deadline.acknowledged_at or not told:
            return []
        person = self._people.next_in_line(told[-1], told, self._wanted(session, case, due.now))
        data = {"rung": due.rung, "generation": due.generation, "hop": due.hop, "before": told[-1], "person": person}
        session.add(
            EventRow(
                case_id=case.id,
                key=f"rung/{due.task}/{due.generation}/{due.rung}/{due.hop}",
                kind="climbed",
                task=due.task,
                at=due.now,
                data=data,
            )
        )
        if person is None:
            return []
        deadline.climbs_at = self._climbs_at(session, case, due, [*told, person])
        notice = NoticeRow(
            person=person,
            key=f"{key}/{due.hop}",
            what="unacknowledged",
            case_id=case.id,
            task=due.task,
            created_at=due.now,
            delivered_at=max(due.now, self._clock()),
            data={"due_at": task.due_at.isoformat(), "owner": task.owner, "before": told[-1], "rung": due.rung},
        )
        gather(session, case, task, [notice])
        session.add(notice)
        return [notice]

    def _climbs_at(self, session: Session, case: CaseRow, due: DueRung, told: list[str]) -> datetime | None:
        """Until when who heard last may acknowledge it: so much of his duty, or of every hour where it is urgent.

        None where nobody need, and where nobody is above him.
        """
        if due.acknowledge is None:
            return None
        if self._people.next_in_line(told[-1], told, self._wanted(session, case, due.now)) is None:
            return None
        return due.now + due.acknowledge if due.urgent else self._people.answers_by(told[-1], due.now, due.acknowledge)

    # What follows from an entry

    def _apply(self, session: Session, case: CaseRow, entry: AnyEntry) -> None:
        session.add(self._event(case, entry, entry.key))
        match entry:
            case Noted(taken_for=kind, about=about):
                case.taken_for, case.about = kind or case.taken_for, about or case.about
                if about:
                    self._take_from(session, case, entry, about)
            case CaseOpened():
                pass
            case Sent():
                self._send(session, case, entry)
            case TaskOwed():
                self._owe(session, case, entry)
            case TaskDone(task=key):
                self._task(session, case, key).state = "done"
                self._task(session, case, key).done_at = entry.at
                self._task(session, case, key).done_by = entry.by
            case TaskWithdrawn(task=key):
                self._task(session, case, key).state = "withdrawn"
                self._task(session, case, key).withdrawn_because = entry.because
            case TaskMoved(task=key):
                task = self._task(session, case, key)
                task.due_at, task.generation = entry.due_at, entry.generation
                task.due_because = entry.because.model_dump(mode="json", exclude_none=True)
                self._arm(session, case, entry, key, entry.generation, entry.rungs)
            case TaskReassigned(task=key):
                task = self._task(session, case, key)
                if task.owner not in (entry.person, entry.by):
                    self._notify(session, case, entry, task.owner, "given_away", key, {"person": entry.person})
                task.owner = entry.person
            case Acknowledged(task=key):
                deadline = session.get_one(DeadlineRow, (case.id, key, entry.generation, entry.rung))
                deadline.acknowledged_at, deadline.acknowledged_by, deadline.climbs_at = entry.at, entry.by, None
            case CycleBegun(cycle=cycle):
                case.cycle = cycle
            case Told():
                self._tell(session, case, entry)
            case CaseClosed():
                case.state, case.closed_at, case.closed_because = "archived", entry.at, entry.because
                self._archive(session, case)
            case CaseReopened():
                case.state, case.closed_at, case.closed_because = "open", None, None
                if archive := session.get(ArchiveRow, case.id):  # whole again, with what is to come, at the next end
                    session.delete(archive)

    def _event(self, case: CaseRow, entry: AnyEntry, key: str) -> EventRow:
        return EventRow(
            case_id=case.id,
            key=key,
            kind=entry.kind,
            task=getattr(entry, "task", None),
            at=entry.at,
            submission=entry.submission,
            by=entry.by,
            role=entry.role,
            data=_content(entry),
        )

    def _owe(self, session: Session, case: CaseRow, owed: TaskOwed) -> None:
        session.add(
            TaskRow(
                case_id=case.id,
                key=owed.task,
                form=owed.form,
                owner_role=owed.owner,
                owner=caller_of(session, self._people, case.id, owed)
                or self._who(session, owed.owner, case, owed.at, owed.unit),
                owed_at=owed.at,
                due_at=owed.due_at,
                due_because=owed.because.model_dump(mode="json", exclude_none=True),
                after=owed.after,
                by_itself=owed.by_itself,
            )
        )
        self._arm(session, case, owed, owed.task, 0, owed.rungs)

    def _take_from(self, session: Session, case: CaseRow, noted: Noted, person: str) -> None:
        """Whom the case turns out to be about owes nothing in it: what he had is for who would have had it from the first. Each
        hears of it once."""
        taken: dict[str, list[TaskRow]] = {}
        his = select(TaskRow).where(TaskRow.case_id == case.id, TaskRow.owner == person, TaskRow.state == "open")
        for task in session.exec(his.order_by(col(TaskRow.due_at), col(TaskRow.key))).all():
            named_so = select(EventRow).where(EventRow.case_id == case.id, EventRow.key == f"owed/{task.key}")
            owed = session.exec(named_so).first()
            unit = owed.data.get("unit") if owed else None
            task.owner = self._who(session, Role(task.owner_role), case, noted.at, unit)
            if task.by_itself or task.owner == person:
                continue  # on nobody's list; or nobody else is there
            moved = TaskReassigned(
                task=task.key, person=task.owner, **noted.model_dump(include=set(Entry.model_fields))
            )
            session.add(self._event(case, moved, f"{moved.key}/{task.key}"))
            taken.setdefault(task.owner, []).append(task)
        for owner, tasks in taken.items():
            given = [(task, {"by": noted.by, "due_at": task.due_at.isoformat()}) for task in tasks]
            self._notify_of_all(session, case, noted, owner, "assigned", given, {"person": person})
        if person != noted.by:
            gone = [(task, {"person": owner}) for owner, tasks in taken.items() for task in tasks]
            whose = {owner: len(tasks) for owner, tasks in taken.items()}
            self._notify_of_all(session, case, noted, person, "given_away", gone, {"whose": whose})

    def _arm(
        self, session: Session, case: CaseRow, cause: Entry, task: str, generation: int, rungs: list[Armed]
    ) -> None:
        session.add_all(
            DeadlineRow(
                case_id=case.id,
                task=task,
                generation=generation,
                rung=armed.rung,
                after_seconds=round(armed.after.total_seconds()),
                role=armed.tell,
                armed_at=max(cause.at, case.entered_at or cause.at),
                planned_at=armed.planned_at,
            )
            for armed in rungs
        )

    def _tell(self, session: Session, case: CaseRow, told: Told) -> None:
        task = self._task(session, case, told.task) if told.task else None
        if (task and task.by_itself) or _was_elsewhere(case, told):
            return  # on nobody's list, or nobody's news
        owner = task.owner if task and told.to is Role.OWNER else None
        person = told.person or owner or self._who(session, told.to, case, told.at)
        data = {"by": told.by, **({"due_at": task.due_at.isoformat()} if task else {})}
        self._notify(session, case, told, person, told.what, told.task, data, told.key)

    def _tell_owners(self, session: Session, case: CaseRow, new: list[AnyEntry]) -> None:
        """Each owner hears once of a new case, and of one that is open again, with what is due first, unless it comes quietly;
        later of what somebody else's form made him owe."""
        owed = [entry for entry in new if isinstance(entry, TaskOwed) and not entry.by_itself]
        opened = next((entry for entry in new if isinstance(entry, CaseOpened | CaseReopened)), None)
        if any(_was_elsewhere(case, entry) for entry in new):
            return
        keys = [entry.task for entry in owed]
        if not keys or (isinstance(opened, CaseOpened) and opened.quiet):
            return
        of_case = select(TaskRow).where(TaskRow.case_id == case.id, col(TaskRow.key).in_(keys))
        tasks = list(session.exec(of_case.order_by(col(TaskRow.due_at))))
        if opened:
            for owner, task in {task.owner: task for task in reversed(tasks)}.items():  # the one that is due first
                data = {"form": task.key, "due_at": task.due_at.isoformat()}
                self._notify(session, case, opened, owner, WHAT_BEGINS[opened.kind], None, data)
            return
        for task in tasks:
            if task.owner != owed[0].by and task.state == "open":
                self._notify(session, case, owed[0], task.owner, "task", task.key, {"due_at": task.due_at.isoformat()})

    def _notify(
        self,
        session: Session,
        case: CaseRow,
        cause: Entry,
        person: str,
        what: str,
        task: str | None,
        data: dict[str, Any],
        key: str | None = None,
    ) -> NoticeRow:
        """A notice that goes out once its submission is decided; not where one of the whole act has told of it."""
        if first := lies_behind(session, person, what, cause.submission):
            data = {**data, "within": first}
        notice = NoticeRow(
            person=person,
            key=key or f"{what}/{task or '-'}/{cause.submission}",
            what=what,
            case_id=case.id,
            task=task,
            submission=cause.submission,
            created_at=cause.at,
            data=data,
        )
        session.add(notice)
        return notice

    def _notify_of_all(
        self,
        session: Session,
        case: CaseRow,
        cause: Entry,
        person: str,
        what: str,
        told: list[tuple[TaskRow, dict[str, Any]]],
        of_all: dict[str, Any],
    ) -> None:
        """What becomes of several tasks of a case: one notice, behind which those of each lie. Who answers by a link gets each by
        itself: each has a link of its own."""
        hears, within = self._people.person(person), {}
        needs_links = what == "assigned" and hears and hears.role in (Role.CONTACT, Role.STORE)
        if len(told) > 1 and not needs_links:
            first_due = min(task.due_at for task, _ in told)
            data = {**of_all, "count": len(told), "due_at": first_due.isoformat()}
            first = self._notify(session, case, cause, person, f"{what}_in_case", None, data)
            session.flush()
            within = {"within": first.id}
        for task, said in told:
            self._notify(session, case, cause, person, what, task.key, {**said, **within})

    def _send(self, session: Session, case: CaseRow, sent: Sent) -> None:
        """A pending submission of the other case, recorded now or just after its last one; the relay delivers it. Where that one
        has ended meanwhile, the manager hears."""
        to = other_case(session, case.process, sent.to)
        if to is None or to.state != "open":
            log.warning("sent.nowhere", case=case.id, form=sent.form)
            number = to.number if to else sent.to
            session.add(lost(session, self._people, sent.outline, number, sent.submission, sent.at))
            return
        body = json.dumps(sent.outline, ensure_ascii=False, sort_keys=True).encode()
        to.last_instant = max(sent.at, to.last_instant + timedelta.resolution)
        submission = f"{sent.submission}-{case.id}"
        session.add(
            SubmissionRow(
                id=submission,
                case_id=to.id,
                form=sent.form,
                by=sent.by,
                role=sent.role,
                recorded_at=to.last_instant,
                sealed=self._keys.seal(body, COLUMN, f"submission/{submission}"),
                outline=sent.outline,
                digest=self._keys.digest(body),
                next_try_at=sent.at,
            )
        )

    def _archive(self, session: Session, case: CaseRow) -> None:
        session.flush()
        sealed = sealed_whole(session, case, self._keys)
        assert case.closed_at is not None
        session.add(ArchiveRow(case_id=case.id, archived_at=case.closed_at, sealed=sealed))

    def _task(self, session: Session, case: CaseRow, key: str) -> TaskRow:
        return session.get_one(TaskRow, (case.id, key))

    def _who(self, session: Session, role: Role, case: CaseRow, at: datetime, unit: str | None = None) -> str:
        def before() -> str | None:
            of_role = select(TaskRow.owner).where(TaskRow.case_id == case.id, TaskRow.owner_role == role)
            return session.exec(of_role.order_by(col(TaskRow.owed_at).desc()).limit(1)).first()

        return self._people.resolve(role, replace(self._wanted(session, case, at, unit), before=before))

    def _wanted(self, session: Session, case: CaseRow, at: datetime, unit: str | None = None) -> Wanted:
        def load() -> dict[str, int]:
            open_tasks = select(TaskRow.owner, func.count()).where(TaskRow.state == "open").group_by(TaskRow.owner)
            return dict(session.exec(open_tasks).all())

        return Wanted(
            case=case.id,
            at=at,
            region=case.region,
            store=case.store,
            unit=unit,
            about=case.about,
            process=case.process,
            load=load,
        )

    def _kept(self, session: Session, recording: Recording) -> dict[str, dict[str, Any]]:
        keys = [entry.key for entry in recording.entries]
        rows = session.exec(select(EventRow).where(EventRow.case_id == recording.case, col(EventRow.key).in_(keys)))
        return {row.key: row.data for row in rows}


def _was_elsewhere(case: CaseRow, entry: Entry) -> bool:
    """Whether it happened before the case came here: whoever had to hear of it has heard of it there."""
    return case.entered_at is not None and entry.at < case.entered_at


def _climbs(deadline: DeadlineRow, task: TaskRow) -> datetime | None:
    return deadline.climbs_at if task.state == "open" and task.generation == deadline.generation else None


def locked(session: Session, case: str) -> CaseRow:
    """The case's row, and the case to ourselves until the transaction ends."""
    return session.exec(select(CaseRow).where(CaseRow.id == case).with_for_update()).one()


def other_case(session: Session, process: str, named: str) -> CaseRow | None:
    """A case by its id or its business number, to ourselves until the transaction ends."""
    leads_to = select(NumberRow.case_id).where(NumberRow.process == process, NumberRow.number == named)
    numbered = and_(CaseRow.process == process, CaseRow.number == named)
    named_so = or_(col(CaseRow.id) == named, numbered, col(CaseRow.id) == leads_to.scalar_subquery())
    return session.exec(select(CaseRow).where(named_so).with_for_update()).first()


def as_submission(row: SubmissionRow) -> Submission:
    """A submission as the workflow sees it."""
    return Submission(
        id=row.id,
        at=row.recorded_at,
        by=row.by,
        role=Role(row.role),
        form=row.form,
        task=row.task,
        outline=row.outline,
    )


def unsealed(row: SubmissionRow, keys: KeyRing) -> dict[str, Any]:
    """What the person sent, in full."""
    form: dict[str, Any] = json.loads(keys.open(row.sealed, COLUMN, f"submission/{row.id}"))
    return form


def sealed_whole(session: Session, case: CaseRow, keys: KeyRing) -> bytes:
    """The archive's document of a case."""
    document = json.dumps(whole_case(session, case, keys), ensure_ascii=False, default=str).encode()
    return keys.seal(document, COLUMN, f"archive/{case.id}")


def whole_case(session: Session, case: CaseRow, keys: KeyRing) -> dict[str, Any]:
    """Everything the ledger knows of a case, texts in full: rows by table."""

    def rows(table: Any, *order: Any) -> list[Any]:
        return list(session.exec(select(table).where(table.case_id == case.id).order_by(*order)))

    submissions = rows(SubmissionRow, SubmissionRow.recorded_at)
    return {
        "case": case.model_dump(exclude={"keys", "leased_by", "leased_until", "last_instant"}),
        "submissions": [
            {
                **row.model_dump(include={"id", "form", "task", "by", "role", "recorded_at", "state"}),
                "content": unsealed(row, keys),
            }
            for row in submissions
        ],
        "tasks": [
            row.model_dump(exclude={"case_id"}) for row in rows(TaskRow, TaskRow.owed_at, TaskRow.due_at, TaskRow.key)
        ],
        "deadlines": [
            row.model_dump(exclude={"case_id"})
            for row in rows(DeadlineRow, DeadlineRow.planned_at, DeadlineRow.task, DeadlineRow.rung)
        ],
        "attachments": [
            {
                **row.model_dump(exclude={"case_id", "key", "digest", "sealed"}),
                **_told_of(row, keys),
            }
            for row in rows(AttachmentRow, AttachmentRow.at, AttachmentRow.id)
        ],
        "events": [row.model_dump(exclude={"case_id", "id"}) for row in rows(EventRow, EventRow.id)],
    }


def _told_of(row: AttachmentRow, keys: KeyRing) -> dict[str, Any]:
    """What an attachment is called; of a removed one, why."""
    known: dict[str, Any] = json.loads(keys.open(row.sealed, COLUMN, f"attachment/{row.id}"))
    return {name: known[name] for name in ("name", "caption", "because") if known.get(name)}


def _content(entry: AnyEntry) -> dict[str, Any]:
    """What two writes of one entry must agree on: everything but the instant and what the row already says."""
    return entry.model_dump(mode="json", exclude={"at", "task", "by", "role"})


def _said(document: Any) -> Any:
    """A document without what it leaves open: a later release knows more fields."""
    if isinstance(document, dict):
        return {name: _said(value) for name, value in document.items() if value is not None}
    return [_said(item) for item in document] if isinstance(document, list) else document

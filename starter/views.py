"""What the screens show, read from the ledger alone: a case, its tasks and clocks with their reasons, lists, an inbox."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlmodel import Session, and_, col, func, or_, select

from activities.gathering import is_shown
from activities.keys import KeyRing
from activities.submissions import unsealed
from models.complaint import COMPLAINT
from models.forms import HIDDEN, FieldError
from models.organisation import Directory, Who
from models.people import Person, Role
from models.tables import CaseRow, DeadlineRow, EventRow, NoticeRow, NumberRow, SubmissionRow, TaskRow
from models.tasks import OPENING, REOPENING
from models.words import Language
from starter import access
from starter.facts import corrected, corrections, laid_over
from starter.library.nameless import STARS, without
from starter.members.said import wanting, whom
from starter.numbers import facts_of
from starter.pages import Item, Page, cursor_of, instant_of, read_cursor, whole_of
from starter.post.wording import INSTANTS, sentence
from starter.refusals import Conflict, Invalid, NotFound
from starter.reopening import numbers_of
from starter.shown import (
    CaseSummary,
    CaseView,
    NoticeView,
    QuestionView,
    RungView,
    SubmissionView,
    TaskView,
    TimelineEntry,
)
from starter.visits import notices

HIDDEN_FROM_THE_ASKED = ("customer", "store_handling", "about_employee")
SHOWN_TO_THE_ASKED = (OPENING, REOPENING, "ask_department", "assist")
TOLD_TO_THE_ASKED = frozenset({"content", "demand", "question", "answer", "colour", "size"})
"""Texts, of the goods too, in which somebody may have written what is the customer's."""
RECEIPT = "receipt_no"
"""Who is asked reads that there is one, and not the number: it finds the customer."""
NEVER_YET = datetime(1, 1, 1, tzinfo=UTC)
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
NOBODY: Who = Directory.model_construct(people=())


class Views:
    """Reads the ledger for one reader. Instants come out in the calendar's zone."""

    def __init__(
        self,
        session: Session,
        keys: KeyRing,
        zone: ZoneInfo,
        reader: Person,
        now: datetime,
        people: Who = NOBODY,
    ) -> None:
        self._session = session
        self._keys = keys
        self._zone = zone
        self._reader = reader
        self._now = now
        self._people = people

    @property
    def session(self) -> Session:
        """For rooms with rows of their own."""
        return self._session

    @property
    def now(self) -> datetime:
        return self._now

    @property
    def zone(self) -> ZoneInfo:
        return self._zone

    @property
    def people(self) -> Who:
        return self._people

    def find(self, name: str) -> str:
        """The id of the case that a reader means by its id or business number. Conflict where that is several cases."""
        numbered = [] if self._session.get(CaseRow, name) else self._numbered(name)
        if len(numbered) > 1:
            cases = ", ".join(f"{row.process} {row.id}" for row in numbered)
            raise Conflict("which_case", number=name, cases=cases)
        return numbered[0].id if numbered else name

    def missing(self, name: str) -> NotFound:
        """Why there is no case of this id: the reader may have given its business number."""
        if numbered := self._numbered(name):
            return NotFound("number_for_id", number=name, case=", ".join(row.id for row in numbered))
        return NotFound("no_such_case", case=name)

    def _numbered(self, number: str) -> list[CaseRow]:
        """The cases of a business number, one for each process at most, that the reader may know."""
        leads_to = select(NumberRow.case_id).where(NumberRow.number == number)
        named_so = or_(col(CaseRow.number) == number, col(CaseRow.id).in_(leads_to))
        rows = self._session.exec(select(CaseRow).where(named_so).order_by(CaseRow.process))
        return [row for row in rows if self._may_read(row)]

    def case(self, id: str) -> CaseView:
        """A whole case. NotFound, also where the reader may not know that it exists."""
        row = self._session.get(CaseRow, id)
        if row is None or not self._may_read(row):
            raise self.missing(id)
        submissions = list(
            self._session.exec(
                select(SubmissionRow).where(SubmissionRow.case_id == id).order_by(col(SubmissionRow.recorded_at))
            )
        )
        opening = next(sent for sent in submissions if sent.form == OPENING)
        facts, otherwise = self._facts(row, opening, corrections(submissions))
        of_case = select(TaskRow).where(TaskRow.case_id == id).order_by(col(TaskRow.due_at), col(TaskRow.key))
        tasks = list(self._session.exec(of_case))
        timeline = list(self._session.exec(select(EventRow).where(EventRow.case_id == id).order_by(col(EventRow.id))))
        if not self._reader.may_see(row.store, row.region):
            tasks = [task for task in tasks if task.owner == self._reader.id]
            timeline = _of_tasks(timeline, {task.key for task in tasks})
            known = {opening.id, *(event.submission for event in timeline)}
            submissions = [sent for sent in submissions if sent.id in known or sent.by == self._reader.id]
        content = {sent.id: self._content(sent) for sent in submissions}
        return CaseView(
            **self._summary(row, any(sent.state == "pending" for sent in submissions)),
            also_numbered=numbers_of(self._session, id),
            facts=facts,
            corrected=otherwise,
            tasks=self._tasks(tasks),
            timeline=self._timeline(
                timeline, tasks, submissions, content if otherwise else {**content, opening.id: None}
            ),
            survey=[QuestionView(**question) for question in row.promises.get("terms", {}).get("survey", ())],
            pending=[self._submission(sent) for sent in submissions if sent.state == "pending"],
        )

    def cases(
        self,
        *,
        process: str | None = None,
        state: str | None = None,
        kind: str | None = None,
        store: str | None = None,
        region: str | None = None,
        owner: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        q: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[CaseSummary]:
        """Cases, the soonest due first, then those with nothing due. `q` finds a business number or a case id.

        Invalid for an owner that nobody is or was.
        """
        due = func.coalesce(CaseRow.due_at, NEVER, type_=CaseRow.__table__.c.due_at.type)  # type: ignore[attr-defined]
        query = select(CaseRow).order_by(due, col(CaseRow.id))
        wanted = {CaseRow.process: process, CaseRow.state: state, CaseRow.taken_for: kind}
        wanted |= {CaseRow.store: store, CaseRow.region: region}
        query = query.where(*(column == value for column, value in wanted.items() if value is not None))
        query = query.where(access.visible(self._reader))
        if process is None:
            query = query.where(access.of_the_department())
        if owner:
            self._check_owner(owner)
            theirs = select(TaskRow.case_id).where(TaskRow.owner == owner, TaskRow.state == "open")
            query = query.where(col(CaseRow.id).in_(theirs))
        if since:
            query = query.where(CaseRow.opened_at >= since)
        if until:
            query = query.where(CaseRow.opened_at < until)
        if q:
            leads_to = select(NumberRow.case_id).where(col(NumberRow.number).icontains(q, autoescape=True))
            numbered = col(CaseRow.number).icontains(q, autoescape=True) | col(CaseRow.id).in_(leads_to)
            query = query.where(or_(numbered, CaseRow.id == q))
        if cursor:
            at, case = read_cursor(cursor, 2)
            query = query.where(or_(due > instant_of(at), and_(due == instant_of(at), col(CaseRow.id) > case)))
        return self._page(query, limit, self._summaries, lambda row: ((row.due_at or NEVER).isoformat(), row.id))

    def tasks(
        self,
        *,
        owner: str | None = None,
        state: str | None = "open",
        due_before: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[TaskView]:
        """Tasks, the soonest due first. Invalid for an owner that nobody is or was."""
        query = select(TaskRow).where(col(TaskRow.by_itself).is_(False))
        query = query.order_by(col(TaskRow.due_at), col(TaskRow.case_id), col(TaskRow.key))
        in_his_cases = col(TaskRow.case_id).in_(select(CaseRow.id).where(access.whole(self._reader)))
        asked = self._reader.role in access.CAN_BE_ASKED
        query = query.where(in_his_cases | (col(TaskRow.owner) == self._reader.id) if asked else in_his_cases)
        if owner:
            self._check_owner(owner)
            query = query.where(TaskRow.owner == owner)
        if state:
            query = query.where(TaskRow.state == state)
        if due_before:
            query = query.where(TaskRow.due_at < due_before)
        if cursor:
            at, case, key = read_cursor(cursor, 3)
            query = query.where(
                or_(
                    col(TaskRow.due_at) > instant_of(at),
                    and_(col(TaskRow.due_at) == instant_of(at), col(TaskRow.case_id) > case),
                    and_(col(TaskRow.due_at) == instant_of(at), TaskRow.case_id == case, col(TaskRow.key) > key),
                )
            )
        return self._page(query, limit, self._tasks, lambda row: (row.due_at.isoformat(), row.case_id, row.key))

    def notices(self, *, language: Language = "zh", limit: int = 50, cursor: str | None = None) -> Page[NoticeView]:
        """The reader's inbox, the latest first."""
        query = (
            select(NoticeRow, CaseRow.number)
            .join(CaseRow, col(CaseRow.id) == col(NoticeRow.case_id), isouter=True)
            .where(NoticeRow.person == self._reader.id, col(NoticeRow.delivered_at).is_not(None), is_shown())
            .order_by(col(NoticeRow.id).desc())
        )
        if cursor:
            query = query.where(col(NoticeRow.id) < whole_of(read_cursor(cursor, 1)[0]))

        def shown(rows: list[Any]) -> list[NoticeView]:
            return [self._notice(row, number, language) for row, number in rows]

        return self._page(query, limit, shown, lambda found: (str(found[0].id),))

    def submission(self, id: str) -> SubmissionView:
        """What became of a submission: for its sender, and whoever may read its case."""
        row = self._session.get(SubmissionRow, id)
        if row is None or not (
            row.by == self._reader.id or self._may_read(self._session.get_one(CaseRow, row.case_id))
        ):
            raise NotFound("no_such_submission", submission=id)
        return self._submission(row)

    # Parts

    def _page(
        self, query: Any, limit: int, shown: Callable[[list[Any]], list[Item]], mark: Callable[[Any], tuple[str, ...]]
    ) -> Page[Item]:
        """The first of what a sorted query finds, the mark of the last one shown, and how many come after it."""
        rows = list(self._session.exec(query.limit(limit + 1)))
        if len(rows) <= limit:
            return Page(items=shown(rows))
        found = query.with_only_columns(func.count(), maintain_column_froms=True).order_by(None)
        more = (self._session.scalar(found) or 0) - limit
        return Page(items=shown(rows[:limit]), cursor=cursor_of(*mark(rows[limit - 1])), more=more)

    def _check_owner(self, owner: str) -> None:
        """A name mistyped finds nothing, which must not look like nothing to do. Who has left may still own something."""
        owned = select(TaskRow.key).where(TaskRow.owner == owner).limit(1)
        if self._people.person(owner) is None and self._session.exec(owned).first() is None:
            able = (person.id for person in self._people.people if person.role in (Role.SPECIALIST, Role.MANAGER))
            raise Invalid([FieldError(field="owner", code="unknown_owner", values={"known": ", ".join(able)})])

    def _timeline(
        self,
        events: list[EventRow],
        tasks: list[TaskRow],
        submissions: list[SubmissionRow],
        content: Mapping[str, Any],
    ) -> list[TimelineEntry]:
        case = submissions[0].case_id
        due = {row.key: row.due_at for row in tasks}
        forms = {sent.id: sent.form for sent in submissions}
        told: dict[str, list[str]] = {}
        for notice in self._session.exec(
            select(NoticeRow).where(NoticeRow.case_id == case).order_by(col(NoticeRow.id))
        ):
            told.setdefault(notice.key.replace(f"{case}/", "rung/"), []).append(notice.person)
        return [
            TimelineEntry(
                at=self._here(event.at),
                kind=event.kind,
                task=event.task,
                by=event.by,
                role=event.role,
                told=told.get(event.key, []),
                late=max(event.at - due[event.task], timedelta(0)) or None
                if event.kind == "done" and event.task
                else None,
                submission=event.submission,
                form=forms.get(event.submission or ""),
                content=content.get(event.submission or "")
                if event.kind == "opened" or forms.get(event.submission or "") != OPENING
                else None,
                data=self._local(event.data),
            )
            for event in events
        ]

    def _notice(self, row: NoticeRow, number: str | None, language: Language) -> NoticeView:
        return NoticeView(
            id=row.id or 0,
            what=row.what,
            text=sentence(row, number, language, self._people, self._zone, notices.said(self._session, row))
            + whom(self._session, self._keys, self._reader, row, language)
            + wanting(self._session, row, language),
            case=row.case_id,
            task=row.task,
            submission=row.submission,
            created_at=self._here(row.created_at),
            answer=access.answer_at(self._keys, row),
        )

    def _may_read(self, case: CaseRow) -> bool:
        return self._reader.may_see(case.store, case.region) or access.is_asked(self._session, self._reader, case.id)

    def _content(self, row: SubmissionRow) -> dict[str, Any] | None:
        """What the person sent: in full; for who is asked, the matter and the question without the customer. The administrator runs the machine
        and reads no customer's affairs."""
        if self._reader.role is Role.ADMINISTRATOR:
            return None
        case = self._session.get_one(CaseRow, row.case_id)
        is_asked = not self._reader.may_see(case.store, case.region)
        return None if is_asked and row.form not in SHOWN_TO_THE_ASKED else self._said(case, row)

    def _facts(
        self, case: CaseRow, opening: SubmissionRow, since: list[SubmissionRow]
    ) -> tuple[dict[str, Any] | None, list[str]]:
        """What is so by now, and which of it says otherwise than the opening: of what the reader may read of an opening."""
        opened = self._content(opening)
        if opened is None or case.process != COMPLAINT.name:
            return opened, []
        said = [(row.form, self._said(case, row)) for row in since]
        return laid_over(opened, said), corrected(opened, said)

    def _said(self, case: CaseRow, row: SubmissionRow) -> dict[str, Any]:
        """What a form says to who may read it: to who is asked, without the customer."""
        content = unsealed(row, self._keys)
        if self._reader.may_see(case.store, case.region):
            return content if self._reader.role in notices.SEES_NAMES else notices.without_names(row.form, content)
        known = facts_of(self._session, self._keys, row.case_id)
        shown = {name: said for name, said in content.items() if name not in HIDDEN_FROM_THE_ASKED}
        if isinstance(goods := shown.get("goods"), dict):
            shown["goods"] = goods | _starred(goods, known)
        return shown | _starred(shown, known)

    def _summaries(self, rows: list[CaseRow]) -> list[CaseSummary]:
        undecided = set(
            self._session.exec(
                select(SubmissionRow.case_id)
                .where(SubmissionRow.state == "pending")
                .where(col(SubmissionRow.case_id).in_([row.id for row in rows]))
            )
        )
        return [CaseSummary(**self._summary(row, row.id in undecided)) for row in rows]

    def _summary(self, row: CaseRow, processing: bool) -> dict[str, Any]:
        kept = row.model_dump(include={"process", "number", "state", "cycle", "store", "region", "closed_because"})
        instants = {name: self._here(getattr(row, name)) for name in ("opened_at", "due_at", "closed_at")}
        return {"case": row.id, "kind": row.taken_for, "processing": processing, **kept, **instants}

    def _submission(self, row: SubmissionRow) -> SubmissionView:
        case = self._session.get_one(CaseRow, row.case_id)
        return SubmissionView(
            submission=row.id,
            case=row.case_id,
            form=row.form,
            task=row.task,
            by=row.by,
            role=row.role,
            scope=case.store or case.region or "all",
            recorded_at=self._here(row.recorded_at),
            state=row.state,
            refusal=self._local(row.refusal),
            content=self._content(row),
        )

    def _tasks(self, rows: list[TaskRow]) -> list[TaskView]:
        ids = {row.case_id for row in rows}
        cases = {row.id: row for row in self._session.exec(select(CaseRow).where(col(CaseRow.id).in_(ids)))}
        of_form = select(TaskRow.case_id, TaskRow.form, func.max(TaskRow.done_at)).group_by(
            col(TaskRow.case_id), col(TaskRow.form)
        )
        rows_done = self._session.exec(of_form.where(col(TaskRow.case_id).in_(cases), TaskRow.state == "done"))
        done = {(case, form): at for case, form, at in rows_done if at}
        rungs: dict[tuple[str, str], list[RungView]] = {}
        for row in self._session.exec(
            select(DeadlineRow)
            .where(col(DeadlineRow.case_id).in_(cases))
            .order_by(col(DeadlineRow.generation), col(DeadlineRow.rung))
        ):
            rungs.setdefault((row.case_id, row.task), []).append(self._rung(row))
        return [self._task(row, cases[row.case_id], done, rungs.get((row.case_id, row.key), [])) for row in rows]

    def _task(
        self, row: TaskRow, case: CaseRow, done: dict[tuple[str, str], datetime], rungs: list[RungView]
    ) -> TaskView:
        return TaskView(
            case=row.case_id,
            process=case.process,
            number=case.number,
            store=case.store,
            task=row.key,
            form=row.form,
            state=row.state,
            owner_role=Role(row.owner_role),
            owner=row.owner,
            due_at=self._here(row.due_at),
            due_because=self._local(row.due_because),
            overdue=row.due_at < (row.done_at or self._now) and row.state != "withdrawn",
            done_at=self._here(row.done_at),
            done_by=row.done_by,
            by_itself=row.by_itself,
            possible=row.state == "open"
            and not row.by_itself
            and (row.after is None or done.get((row.case_id, row.after), NEVER_YET) >= row.owed_at),
            after=row.after,
            rungs=[rung for rung in rungs if rung.fired_at or rung.generation == row.generation],
        )

    def _rung(self, row: DeadlineRow) -> RungView:
        return RungView(
            rung=row.rung,
            generation=row.generation,
            offset=timedelta(seconds=row.after_seconds),
            role=Role(row.role),
            person=row.person,
            planned_at=self._here(row.planned_at),
            fired_at=self._here(row.fired_at),
            passed=row.passed,
            system_was_late=row.system_was_late,
            delivered_at=self._here(row.delivered_at),
            acknowledged_at=self._here(row.acknowledged_at),
            acknowledged_by=row.acknowledged_by,
            climbs_at=self._here(row.climbs_at),
            hops=row.hops,
        )

    def _here(self, instant: datetime | None) -> Any:
        return instant.astimezone(self._zone) if instant else None

    def _local(self, document: Any) -> Any:
        """A document of the ledger with its instants in the calendar's zone."""
        if isinstance(document, list):
            return [self._local(item) for item in document]
        if not isinstance(document, dict):
            return document
        return {
            name: self._here(datetime.fromisoformat(value)).isoformat()
            if name in INSTANTS and value
            else self._local(value)
            for name, value in document.items()
        }


def _starred(said: Mapping[str, Any], known: list[dict[str, Any]]) -> dict[str, Any]:
    """Of what somebody said, the texts with stars for what is the customer's; what was erased stays so."""
    told = {name: without(said[name], *known) for name in TOLD_TO_THE_ASKED & said.keys()}
    return told if said.get(RECEIPT) in (None, HIDDEN) else told | {RECEIPT: STARS}


def _of_tasks(events: list[EventRow], tasks: set[str]) -> list[EventRow]:
    """What concerns some tasks of a case, when it was opened, and when it ended."""
    return [event for event in events if event.task in tasks or event.kind in ("opened", "archived", "reopened")]

"""客诉台账: the complaints of a period, one a row, and the period's figures."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Row
from sqlmodel import Session, col, func, select
from xlsxwriter import Workbook

from activities.database import Database
from activities.keys import KeyRing
from activities.submissions import unsealed
from models.complaint import COMPLAINT
from models.forms import HIDDEN
from models.organisation import Who
from models.people import Person, Role
from models.tables import CaseRow, EventRow, SubmissionRow, TaskRow
from models.tasks import OPENING
from models.words import Language, choice, knows, label, say
from starter import access
from starter.facts import CORRECTING, Said, corrects, laid_over
from starter.papers.masks import name as masked_name
from starter.papers.masks import phone as masked_phone
from starter.papers.workbook import Column, Value, streamed

CHUNK = 500
LONGEST = timedelta(days=366)
GIST = 100
"""Characters of a text that stand in the register; the whole is in the record form."""
WIDEST = timedelta(days=2)
"""More than any two zones' dates lie apart."""

COLUMNS = (
    ("form_no", 18, "text"),
    ("received_at", 16, "instant"),
    ("channel", 10, "text"),
    ("kind", 10, "text"),
    ("store", 18, "text"),
    ("region", 10, "text"),
    ("category", 14, "text"),
    ("goods.style_no", 12, "text"),
    ("gist", 40, "text"),
    ("customer.name", 10, "text"),
    ("customer.phone", 14, "text"),
    ("demand", 24, "text"),
    ("severity", 10, "text"),
    ("replied_at", 16, "instant"),
    ("reply_in_time", 12, "text"),
    ("proposed_at", 16, "instant"),
    ("solution_in_time", 12, "text"),
    ("rounds", 8, "count"),
    ("remedy", 10, "text"),
    ("amount", 12, "money"),
    ("consented_at", 16, "instant"),
    ("executed_at", 16, "instant"),
    ("called_back_at", 16, "instant"),
    ("callback_in_time", 12, "text"),
    ("outcome", 12, "text"),
    ("satisfaction", 8, "count"),
    ("responsible", 18, "text"),
    ("state", 10, "text"),
    ("closed_at", 16, "instant"),
    ("escalations", 8, "count"),
    ("extensions", 8, "count"),
    ("handler", 10, "text"),
    ("case_id", 24, "text"),
)
OF_CASE = (
    CaseRow.id,
    CaseRow.number,
    CaseRow.state,
    CaseRow.taken_for,
    CaseRow.store,
    CaseRow.region,
    CaseRow.closed_at,
)
OF_TASK = tuple(
    getattr(TaskRow, name) for name in ["case_id", "key", "form", "state", "owner", "due_at", "done_at", "done_by"]
)
OF_SUBMISSION = tuple(
    getattr(SubmissionRow, name) for name in ["id", "case_id", "form", "by", "state", "recorded_at", "sealed"]
)
WHOLE = col(SubmissionRow.form).in_((OPENING, *CORRECTING, "record"))
"""Those whose texts the register needs."""
PROMISED = ("reply", "solution", "callback")
"""The handbook's three: 24 hours, 48 hours, a week (6.2(4))."""
SHOWN = (*PROMISED, "execution")


class Register:
    """The register of a period, as one person may have it.

    A complaint belongs to the period in which it was received: at or after the first day's beginning, before the
    last day's, in the calendar's zone, whenever it was typed. Texts are cut short, names and numbers masked; the
    administrator gets neither. Instants and "in time" are by the due times as extended, at `now`.
    """

    def __init__(
        self,
        database: Database,
        keys: KeyRing,
        people: Who,
        zone: ZoneInfo,
        reader: Person,
        now: datetime,
        language: Language = "zh",
    ) -> None:
        self._database = database
        self._keys = keys
        self._people = people
        self._zone = zone
        self._reader = reader
        self._now = now
        self._language = language
        self._figures = Figures(language)

    def cases(self, since: date, until: date) -> list[str]:
        """The ids of the cases received from the one day to the other, that one excluded, in the order of receipt."""
        begin, end = (datetime.combine(day, datetime.min.time(), self._zone) for day in (since, until))
        received = col(SubmissionRow.outline)["received_at"].as_string()
        query = (
            select(CaseRow.id, received)
            .join(SubmissionRow, col(SubmissionRow.case_id) == col(CaseRow.id))
            .where(CaseRow.process == COMPLAINT.name, SubmissionRow.form == OPENING, access.whole(self._reader))
            .where(CaseRow.opened_at >= begin - WIDEST)  # nothing is opened before it is received
            .where(received >= f"{begin - WIDEST:%Y-%m-%d}", received < f"{end + WIDEST:%Y-%m-%d}")
        )
        with self._database.reading() as session:
            found = [(datetime.fromisoformat(at).astimezone(UTC), case) for case, at in session.exec(query)]
        return [case for at, case in sorted(found) if begin <= at < end]

    def workbook(self, since: date, until: date, cases: list[str]) -> Iterator[bytes]:
        """The workbook, piece by piece. Every case is read when its row is written."""
        columns = [Column(self._word(name), width, kind) for name, width, kind in COLUMNS]
        self._figures.about = [
            (self._say("period"), self._say("from_to", since=str(since), until=str(until))),
            (self._say("made"), f"{self._now.astimezone(self._zone):%Y-%m-%d %H:%M} {self._reader.name}"),
        ]
        return streamed(
            self._say("sheet"), columns, len(cases), self._rows(cases), self._figures.write, self._now.astimezone(UTC)
        )

    def _rows(self, cases: list[str]) -> Iterator[list[Value]]:
        for at in range(0, len(cases), CHUNK):
            with self._database.reading() as session:
                lines = _Lines(session, self._keys, cases[at : at + CHUNK], self._now)
            for case in cases[at : at + CHUNK]:
                if case in lines.cases:
                    yield self._row(lines, case)

    def _row(self, lines: "_Lines", case: str) -> list[Value]:
        row, facts = lines.cases[case], lines.facts[case]
        tasks, sent = lines.tasks[case], lines.sent[case]
        first = {form: task for form in SHOWN if (task := _first(tasks, form))}
        standing = {form: lines.standing(first[form]) for form in PROMISED if form in first}
        escalations, extensions = (lines.events[case][kind] for kind in ("escalated", "moved"))
        self._figures.count(row, facts, self._store(row), standing, escalations)
        proposed, called = sent.get("solution", {}), sent.get("callback", {})
        known: dict[str, Value] = {
            "form_no": row.number,
            "received_at": self._here(datetime.fromisoformat(facts["received_at"])),
            "channel": self._choice("channel", facts["channel"]),
            "kind": self._choice("kind", row.taken_for),
            "store": self._store(row),
            "region": self._people.region_name(row.region),
            "category": facts.get("category"),
            "goods.style_no": (facts.get("goods") or {}).get("style_no"),
            "severity": self._choice("severity", facts.get("severity", "ordinary")),
            "replied_at": self._done(first.get("reply")),
            "proposed_at": self._done(first.get("solution")),
            "rounds": sum(task.form == "solution" and task.state == "done" for task in tasks.values()) or None,
            "remedy": self._choice("remedy", proposed["remedy"]) if proposed else None,
            "amount": Decimal(proposed.get("amount", 0)) if proposed else None,
            "consented_at": self._here(lines.consented.get(case)),
            "executed_at": self._done(first.get("execution")),
            "called_back_at": self._done(first.get("callback")),
            "outcome": self._choice("outcome", called["outcome"]) if called else None,
            "satisfaction": called.get("satisfaction"),
            "state": self._say(row.state),
            "closed_at": self._here(row.closed_at),
            "escalations": escalations,
            "extensions": extensions,
            "handler": self._handler(tasks),
            "case_id": case,
        }
        known |= {f"{key}_in_time": self._say(how) for key, how in standing.items()}
        if self._reader.role is not Role.ADMINISTRATOR:
            known |= self._contents(facts, lines.responsible.get(case))
        return [self._say("erased") if known.get(name) == HIDDEN else known.get(name) for name, _, _ in COLUMNS]

    def _contents(self, facts: dict[str, Any], responsible: str | None) -> dict[str, Value]:
        customer = facts.get("customer") or {}
        return {
            "gist": _gist(facts.get("content")),
            "demand": _gist(facts.get("demand")),
            "customer.name": _masked(masked_name, customer.get("name")),
            "customer.phone": _masked(masked_phone, customer.get("phone")),
            "responsible": _gist(responsible),
        }

    def _handler(self, tasks: dict[str, Row[Any]]) -> str:
        """Who has the case now: the soonest due task's owner; of a closed case who did the last one."""
        owed = sorted((task for task in tasks.values() if task.state == "open"), key=lambda task: task.due_at)
        done = sorted((task.done_at, task.done_by) for task in tasks.values() if task.done_at and task.done_by)
        person = owed[0].owner if owed else done[-1][1] if done else None
        return self._people.called(person) if person else ""

    def _store(self, row: Row[Any]) -> str:
        known = self._people.store(row.store)
        return known.name if known else row.store or ""

    def _done(self, task: Row[Any] | None) -> datetime | None:
        return self._here(task.done_at) if task else None

    def _here(self, instant: datetime | None) -> datetime | None:
        return instant.astimezone(self._zone) if instant else None

    def _choice(self, field: str, code: str) -> str:
        return choice(COMPLAINT.name, field, code, self._language)

    def _word(self, name: str) -> str:
        known = knows("register", name)
        return self._say(name) if known else label(COMPLAINT.name, name, self._language)

    def _say(self, word: str, **values: str) -> str:
        return say("register", word, self._language, **values)


class _Lines:
    """What the ledger has for some rows of the register, in one view of it."""

    def __init__(self, session: Session, keys: KeyRing, cases: list[str], now: datetime) -> None:
        self._now = now
        self.cases = {row.id: row for row in self._of(session, OF_CASE, CaseRow.id, cases)}
        self.facts: dict[str, dict[str, Any]] = {}
        self.responsible: dict[str, str | None] = {}
        self.sent: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        self.consented: dict[str, datetime] = {}
        self.tasks: dict[str, dict[str, Row[Any]]] = defaultdict(dict)
        self.events: dict[str, Counter[str]] = defaultdict(Counter)
        corrections: dict[str, list[Said]] = defaultdict(list)
        whole = self._of(session, OF_SUBMISSION, SubmissionRow.case_id, cases, WHOLE)
        for row in sorted(whole, key=lambda row: row.recorded_at):
            if row.form == OPENING:
                self.facts[row.case_id] = unsealed(row, keys)
            elif row.state == "decided" and row.form == "record":
                self.responsible[row.case_id] = unsealed(row, keys).get("responsible")
            elif row.state == "decided" and corrects(row.form, row.by):
                corrections[row.case_id].append((row.form, unsealed(row, keys)))
        self.facts |= {case: laid_over(self.facts[case], said) for case, said in corrections.items()}
        self._read_forms(session, cases)
        for task in self._of(session, OF_TASK, TaskRow.case_id, cases):
            self.tasks[task.case_id][task.key] = task
        happened = (
            select(EventRow.case_id, EventRow.kind, func.count())
            .where(col(EventRow.case_id).in_(cases), col(EventRow.kind).in_(("escalated", "moved")))
            .group_by(EventRow.case_id, EventRow.kind)
        )
        for case, kind, times in session.exec(happened):
            self.events[case][kind] = times

    def _of(self, session: Session, columns: Any, case: Any, cases: list[str], *more: Any) -> Any:
        """Some columns of the rows of these cases: whole objects take three times as long."""
        return session.connection().execute(select(*columns).where(col(case).in_(cases), *more))

    def _read_forms(self, session: Session, cases: list[str]) -> None:
        """The last of each form that was taken, texts hidden."""
        taken = (
            select(SubmissionRow.case_id, SubmissionRow.form, SubmissionRow.recorded_at, SubmissionRow.outline)
            .where(col(SubmissionRow.case_id).in_(cases), SubmissionRow.state == "decided")
            .where(col(SubmissionRow.form).in_(("solution", "solve", "consent", "callback")))
            .order_by(col(SubmissionRow.recorded_at))
        )
        for case, form, at, outline in session.exec(taken):
            self.sent[case]["solution" if form == "solve" else form] = dict(outline)
            if form == "solve" or outline.get("accepted") is True:
                self.consented[case] = at

    def standing(self, task: Row[Any]) -> str:
        """How a task stands to its due time."""
        if task.done_at:
            return "in_time" if task.done_at <= task.due_at else "late"
        if task.state != "open":
            return "withdrawn"
        return "overdue" if task.due_at < self._now else "not_due"


class Figures:
    """What is counted while the rows are written, and the sheet it makes."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self.about: list[tuple[str, str]] = []
        self._total = 0
        self._by: dict[str, Counter[str]] = {name: Counter() for name in ("state", "kind", "channel", "store")}
        self._standing: dict[str, Counter[str]] = {key: Counter() for key in PROMISED}
        self._escalations = 0
        self._escalated = 0

    def count(
        self, row: Row[Any], facts: dict[str, Any], store: str, standing: dict[str, str], escalations: int
    ) -> None:
        self._total += 1
        self._by["state"][self._say(row.state)] += 1
        self._by["kind"][choice(COMPLAINT.name, "kind", row.taken_for, self._language)] += 1
        self._by["channel"][choice(COMPLAINT.name, "channel", facts["channel"], self._language)] += 1
        self._by["store"][store or "–"] += 1
        for key, how in standing.items():
            self._standing[key][how] += 1
        self._escalations += escalations
        self._escalated += escalations > 0

    def write(self, book: Workbook) -> None:
        """Add the sheet. A rate is of what is done or overdue; with nothing of that there is none."""
        sheet = book.add_worksheet(self._say("figures"))
        bold, share = book.add_format({"bold": True}), book.add_format({"num_format": "0.0%"})
        sheet.set_column(0, 0, 26)
        sheet.set_column(1, 6, 14)
        lines: list[list[Any]] = [[self._say("figures")], *([name, said] for name, said in self.about), []]
        lines += self._sums()
        lines += [[], [self._say(word) for word in ("promise", "in_time", "late", "overdue", "not_due", "rate")]]
        rates = range(len(lines), len(lines) + len(PROMISED))
        lines += [self._rate(key) for key in PROMISED]
        for name, counted in self._by.items():
            lines += [[], [self._say(f"by_{name}"), self._say("cases")], *map(list, counted.most_common())]
        lines += [[], [self._say("explained")]]
        headings = {0, *(at + 1 for at, line in enumerate(lines) if not line and len(lines[at + 1]) > 1)}
        for at, line in enumerate(lines):
            for across, said in enumerate(line):
                if isinstance(said, str):
                    sheet.write_string(at, across, said, bold if at in headings else None)
                elif said is not None:
                    sheet.write_number(at, across, said, share if at in rates and across == 5 else None)

    def _sums(self) -> list[list[Any]]:
        sums = ("total", self._total), ("escalated_cases", self._escalated), ("escalations_all", self._escalations)
        return [[self._say(word), number] for word, number in sums]

    def _rate(self, key: str) -> list[Any]:
        counted = self._standing[key]
        owed = sum(counted[how] for how in ("in_time", "late", "overdue"))
        numbers = [counted[how] for how in ("in_time", "late", "overdue", "not_due")]
        return [self._say(f"promise_{key}"), *numbers, counted["in_time"] / owed if owed else None]

    def _say(self, word: str) -> str:
        return say("register", word, self._language)


def _first(tasks: Mapping[str, Row[Any]], form: str) -> Row[Any] | None:
    """The task of a form that counts: the first that was not withdrawn; where all were, the last. One that is owed anew when
    a case is again what it was has the clock of the one before."""
    of_form = sorted((task for task in tasks.values() if task.form == form), key=lambda task: (len(task.key), task.key))
    return next((task for task in of_form if task.state != "withdrawn"), of_form[-1] if of_form else None)


def _masked(mask: Callable[[str], str], said: str | None) -> str | None:
    return mask(said) if said and said != HIDDEN else said


def _gist(said: str | None) -> str | None:
    """The beginning of a text, on one line."""
    if not said:
        return None
    line = " ".join(said.split())
    return line if len(line) <= GIST else f"{line[: GIST - 1]}…"

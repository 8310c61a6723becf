"""《顾客投诉意见处理表》 of a case (handbook 3.3 F7; F8 where a store handled it): what stands in which cell."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from models.complaint import COMPLAINT
from models.complaint.facts import Complaint, StoreHandling
from models.complaint.forms import BackAgain, Callback, Consent, Execution, Opinion, Record, Reply, Solution
from models.forms import Bundle, Form
from models.tables import ERASED
from models.words import LIST, aside, choice, label, say
from starter.attachments.cabinet import AttachmentView
from starter.erasure import told
from starter.papers.cells import Cells, F, Handed, Row
from starter.papers.course import Course
from starter.papers.masks import masked
from starter.shown import CaseView, TaskView, TimelineEntry


@dataclass(frozen=True)
class Print:
    """Who prints a form, and when. A form for the archive is printed by nobody: the same state is the same file."""

    by: str
    at: datetime


@dataclass
class Sheet(Cells):
    """A case's form as it is filled in. Instants come in the calendar's zone."""

    mask: bool = False
    print: Print | None = None
    attachments: list[AttachmentView] = field(default_factory=list)
    facts: Complaint = field(init=False)
    handed: list[Handed[Form]] = field(init=False)

    def __post_init__(self) -> None:
        facts = Complaint.model_validate(self.view.facts or {})
        self.facts = facts.model_copy(update={"customer": masked(facts.customer)}) if self.mask else facts
        self.handed = list(_handed(self.view))

    @property
    def as_of(self) -> datetime:
        """The instant of the state that the form shows: the last thing that happened."""
        sent = (waiting.recorded_at for waiting in self.view.pending)
        return max([*(entry.at for entry in self.view.timeline), *sent, self.view.opened_at])

    @property
    def now(self) -> datetime:
        """When what is still open counts as late: at the time of printing; for the archive at the last thing that happened."""
        return self.print.at.astimezone(self.zone) if self.print else self.as_of

    def form(self) -> dict[str, Any]:
        """What the template sets."""
        return told(self._form(), self._say("erased_text"))  # type: ignore[no-any-return]

    def _form(self) -> dict[str, Any]:
        of_store = self.facts.origin == "store"
        parts = [part for part in (self._of_store() if of_store else self._of_department()) if part["rows"]]
        return {
            "title": self._say("store_title" if of_store else "title"),
            "number": self.view.number,
            "number_name": label("complaint", "form_no", self.language),
            "marks": self._marks(),
            "parts": parts,
            "notes": self._notes(),
            "footer": self._footer(),
            "page": self._say("page"),
            "boxes": self._say("boxes"),
            "lang": self.language,
            "region": "CN" if self.language == "zh" else "GB",
        }

    # The two forms

    def _of_department(self) -> list[dict[str, Any]]:
        return [
            self._part("receipt", self._receipt()),
            self._part("customer", self._customer()),
            self._part("goods", self._goods()),
            self._part("matter", self._matter()),
            self._part("reply", self._reply()),
            *self._rounds(),
            self._part("execution", self._execution()),
            self._part("callback", self._callback()),
            self._part("verdict", self._verdict()),
            self._part("course", self._course()),
            self._part("attachments", self._attachments()),
            self._part("deadlines", self._deadlines()),
            self._part("approval", [*self._opinion("opinion"), self._signatures("handler", "manager")]),
        ]

    def _of_store(self) -> list[dict[str, Any]]:
        return [
            self._part("receipt", self._receipt()),
            self._part("customer", self._customer()),
            self._part("goods", self._goods()),
            self._part("matter", self._matter()),
            self._part("handling", self._handling()),
            self._part("callback", self._callback()),
            *(
                self._of_headquarters()
                if any(isinstance(handed.form, Reply | Solution) for handed in self.handed)
                else []
            ),
            *([self._part("verdict", self._verdict())] if any(t.form == "record" for t in self.view.tasks) else []),
            self._part("course", self._course()),
            self._part("attachments", self._attachments()),
            self._part("deadlines", self._deadlines()),
            self._part("signatures", [self._signatures("handler", "manager")]),
        ]

    def _of_headquarters(self) -> list[dict[str, Any]]:
        """What was done where the store wanted help, or the customer was not satisfied with the store."""
        return [self._part("reply", self._reply()), *self._rounds(), self._part("execution", self._execution())]

    # Their parts

    def _receipt(self) -> list[Row]:
        facts = self.facts
        store = self.people.store(facts.store or self.view.store)
        shop = " ".join([store.name, store.code]) if store else facts.store or ""
        return [
            self._pairs(
                self._cell("received_at", self._at(facts.received_at), 1.25),
                self._cell("received_by", self._name(facts.received_by or self._opened_by)),
                self._cell("channel", self._choice("channel", facts.channel)),
            ),
            self._pairs(
                self._cell("store", shop, 1.25),
                (self._say("region"), self.people.region_name(self.view.region) or "", 1),
                self._cell("category", facts.category or ""),
            ),
            self._pairs(
                self._cell("kind", self._boxes("kind", self.view.kind or facts.kind), 1.25),
                self._cell("severity", self._boxes("severity", facts.severity)),
            ),
            *(
                [self._pairs(self._cell("about_employee", self._name(facts.about_employee)))]
                if facts.about_employee
                else []
            ),
        ]

    def _customer(self) -> list[Row]:
        known = self.facts.customer
        usual = [
            self._cell("customer.name", known.name or "", 1.25),
            self._cell("customer.phone", known.phone or ""),
            self._cell("customer.card_no", known.card_no or ""),
        ]
        others = [
            self._cell(f"customer.{name}", said)
            for name in ("email", "im", "fax", "company", "preferred_time")
            if (said := getattr(known, name))
        ]
        rows = [self._pairs(*usual), *(self._pairs(*others[n : n + 3]) for n in range(0, len(others), 3))]
        return rows + self._texts("complaint", known, "address", within="customer.")

    def _goods(self) -> list[Row]:
        goods, price = self.facts.goods, ""
        if goods and goods.price is not None:
            price = self._yuan(goods.price)
        bought = f"{self.facts.purchased_on:%Y-%m-%d}" if self.facts.purchased_on else ""
        known = goods.model_dump(context="ledger") if goods else {}
        cells = [
            ("goods.style_no", known.get("style_no"), 1.25),
            ("goods.colour", known.get("colour"), 1),
            ("goods.size", known.get("size"), 1),
            ("goods.receipt_no", known.get("receipt_no"), 1.25),
            ("purchased_on", bought, 1),
            ("goods.price", price, 1),
            ("goods.batch", known.get("batch"), 1),
        ]
        if not any(said for _, said, _ in cells):
            return []
        shown = [self._cell(name, said or "", share) for name, said, share in cells]
        return [self._pairs(*shown[:3]), self._pairs(*shown[3:6]), *([self._pairs(shown[6])] if cells[6][1] else [])]

    def _matter(self) -> list[Row]:
        return [
            self._passage(label("complaint", "content", self.language), self.facts.content, 12),
            *self._texts("complaint", self.facts, "demand", blank=True),
            *(row for entry in self.view.returns for row in self._return(entry)),
        ]

    def _return(self, entry: TimelineEntry) -> list[Row]:
        """With what the customer came back."""
        said = BackAgain.model_validate(entry.content)
        came_at = said.received_at.astimezone(self.zone) if said.received_at else entry.at
        over = self._choice("channel", said.channel) if said.channel else ""
        handling = said.store_handling or StoreHandling()
        return [
            self._pairs(
                (say("form", BackAgain.form, self.language), f"{self._at(came_at)} {over}".strip(), 1.25),
                self._cell("form_no", said.form_no or ""),
                self._cell("received_by", self._name(said.received_by or entry.by)),
            ),
            *self._texts("complaint", said, "content", "demand"),
            *self._texts("complaint", handling, "reply", "solution", within="store_handling."),
        ]

    def _handling(self) -> list[Row]:
        done = self.facts.store_handling or StoreHandling()
        opinion = label("complaint", "store_handling.supervisor_opinion", self.language)
        later = self._last(Opinion)  # where it did not come along
        helped = [(done.help_wanted, self._yes(True)), (not done.help_wanted, self._yes(False))]
        return [
            self._pairs(
                self._cell("store_handling.by", self._name(done.by)),
                self._cell("store_handling.help_wanted", helped),
            ),
            *self._texts("complaint", done, "reply", "solution", within="store_handling.", blank=True),
            self._passage(self._say("reaction"), "", 10),
            self._passage(opinion, done.supervisor_opinion or (later.form.content if later else ""), 12),
            self._signatures("store_sign", "supervisor_sign"),
        ]

    def _reply(self) -> list[Row]:
        replies: list[Handed[Reply] | None] = [*self._all(Reply)] or [None]
        rows: list[Row] = []
        for handed in replies:
            rows.append(self._stamp("replied_at", "replied_by", handed, "reply"))
            rows += self._texts("reply", handed.form if handed else None, "content", blank=True)
            rows += self._spoken(handed)
        return rows

    def _spoken(self, handed: Handed[Any] | None) -> list[Row]:
        """Who told the customer, when and over what, where no letter took it to him."""
        said = handed.form if handed else None
        if not said or not any((said.told_by, said.told_at, said.channel)):
            return []
        return [
            self._pairs(
                self._cell("told_at", self._at(said.told_at) if said.told_at else "", 1.25, said.form),
                self._cell("told_by", self._name(said.told_by), 1, said.form),
                self._cell("channel", self._choice("channel", said.channel) if said.channel else "", 1, said.form),
            )
        ]

    def _rounds(self) -> Iterator[dict[str, Any]]:
        """Every proposal and what the customer said to it."""
        consents = self._all(Consent)
        solutions = self._all(Solution)
        answers = {_round_of(said, solutions): said for said in consents}
        owed = [task for task in self.view.tasks if task.form == "solution" and task.state == "open"]
        for nth, solution in enumerate([*solutions, *([None] if owed or not solutions else [])], start=1):
            several = len(solutions) + len(owed) > 1
            name = self._say("round", n=self._ordinal(nth)) if several else self._say("solution")
            consent = answers.get(nth) if solution else None
            yield self._part(name, self._round(solution, consent), named=True)

    def _round(self, solution: Handed[Solution] | None, consent: Handed[Consent] | None) -> list[Row]:
        proposed = solution.form if solution else None
        said = consent.form if consent else None
        answer = [(said is not None and said.accepted is yes, self._yes(yes)) for yes in (True, False)]
        told = self._pairs(
            self._cell("accepted", answer, 1.25),
            (self._say("answered_at"), self._at(consent.at) if consent else "", 1),
            (self._say("entered_by"), self._name(consent.by) if consent else "", 1),
        )
        return [
            self._stamp("proposed_at", "proposed_by", solution, "solution"),
            *self._texts("solution", proposed, "steps", "effect", blank=True),
            *self._spoken(solution),
            self._pairs(
                self._cell("remedy", self._choice("remedy", proposed.remedy) if proposed else "", 1.25),
                self._cell("amount", self._yuan(proposed.amount) if proposed else ""),
                self._cell("duration", self._span(proposed.duration) if proposed and proposed.duration else ""),
            ),
            told,
            *self._texts("consent", said, "wish"),
            *self._demanded(said),
        ]

    def _demanded(self, said: Consent | None) -> list[Row]:
        """What of the customer's wish was told as data."""
        if said is None or (said.demand_amount is None and said.demand_remedy is None):
            return []
        remedy = self._choice("remedy", said.demand_remedy) if said.demand_remedy else ""
        amount = self._yuan(said.demand_amount) if said.demand_amount is not None else ""
        return [self._pairs(self._cell("demand_remedy", remedy, 1.25), self._cell("demand_amount", amount, 2))]

    def _execution(self) -> list[Row]:
        rows: list[Row] = []
        carried_out: list[Handed[Execution] | None] = [*self._all(Execution)] or [None]
        for done in carried_out:
            rows.append(self._stamp("executed_at", "executed_by", done, "execution"))
            rows += self._texts("execution", done.form if done else None, "content", blank=True)
        return rows

    def _callback(self) -> list[Row]:
        rows: list[Row] = []
        calls: list[Handed[Callback] | None] = [*self._all(Callback)] or [None]
        solvers = {
            solution.by for solution in self._all(Solution)
        }  # who is not to call, or the record says so (5.2 E25)
        for called in calls:
            said = called.form if called else None
            satisfied = [(said is not None and said.satisfaction == n, str(n)) for n in range(1, 6)]
            rows += [
                self._stamp(
                    "called_back_at",
                    "called_back_by" if not called or called.by not in solvers else "called_back_by_solver",
                    called,
                    "callback",
                ),
                self._pairs(
                    self._cell("outcome", self._choice("outcome", said.outcome) if said else "", 1),
                    self._cell("satisfaction", satisfied, 1.35),
                    self._cell(
                        "channel", self._choice("channel", said.channel) if said and said.channel else "", 1, "callback"
                    ),
                ),
                *self._texts("callback", said, "comment"),
                *([self._survey(said)] if said and said.survey else []),
            ]
        return rows

    def _survey(self, said: Callback) -> Row:
        """What the customer said to each question of the survey, in the words that the case was opened under."""
        asked = {question.code: getattr(question, self.language) for question in self.view.survey}
        lines = []
        for answer in said.survey or ():
            score = f"{answer.score} / 5" if answer.score is not None else None
            yes = choice("survey", "yes", str(answer.yes).lower(), self.language) if answer.yes is not None else None
            lines.append([asked.get(answer.question, answer.question), score or yes or str(answer.text)])
        return self._list(("question", "answer"), (3, 2), lines)

    def _course(self) -> list[Row]:
        course = Course(self.people, self.language, self.mask, self._at)
        back = [[self._at(self.view.opened_at), label("complaint", "earlier", self.language), "", self.facts.earlier]]
        lines = [[self._at(at), what, by, said] for at, what, by, said in course.lines(self.view.timeline)]
        lines = [*(back if self.facts.earlier else []), *lines]  # type: ignore[list-item]
        return [self._list(("at", "what", "by", "said"), (2, 1.8, 1.5, 5.3), lines)] if lines else []

    def _attachments(self) -> list[Row]:
        lines = [
            [
                file.kind.upper(),
                self._say("removed") if file.removed_at else " ".join(filter(None, [file.name, file.caption])),
                self._name(file.by),
                self._at(file.at),
            ]
            for file in self.attachments
        ]
        return [self._list(("kind", "name", "added_by", "added_at"), (1, 5, 1.8, 2.2), lines)] if lines else []

    def _verdict(self) -> list[Row]:
        """What each closing form says: the one before a customer came back stays as it was signed."""
        records: list[Handed[Record] | None] = [*self._all(Record)]
        owed = any(task.form == Record.form and task.state == "open" for task in self.view.tasks)
        rows: list[Row] = []
        for record in [*records, *([None] if owed or not records else [])]:
            closed = self._closed_with(record) if record else self.view.closed_at
            rows += [
                *self._texts("record", record.form if record else None, "finding", "responsible", "lesson", blank=True),
                self._pairs(
                    (self._say("filled_by"), self._name(record.by) if record else "", 1),
                    self._cell("closed_at", self._at(closed) if closed else "", 1.2),
                    (self._say("case_id"), self.view.case, 1.2),
                ),
            ]
        return rows

    def _closed_with(self, record: Handed[Record]) -> datetime | None:
        closings = (entry.at for entry in self.view.timeline if entry.kind == "archived" and entry.at >= record.at)
        return next(closings, None)

    def _deadlines(self) -> list[Row]:
        shown = (task for task in self.view.tasks if task.state != "withdrawn" and not task.by_itself)
        owed = sorted(shown, key=_place)
        lines = [
            [
                self._task(task.task),
                self._at(task.due_at),
                self._at(task.done_at) if task.done_at else "",
                self._name(task.done_by or task.owner),
                self._verdict_on(task),
            ]
            for task in owed
        ]
        rows = [self._list(("task", "due", "done", "by", "in_time"), (2.2, 2.2, 2.2, 1.5, 2.4), lines)]
        for kind, heads, shares in (
            ("escalated", ("escalated_at", "task", "told", "delay"), (2.2, 2.2, 3, 2.2)),
            ("moved", ("moved_at", "task", "due_before", "due_after", "approved_by", "reason"), (2, 1.6, 2, 2, 1.3, 3)),
            ("reassigned", ("reassigned_at", "task", "to", "reassigned_by", "reason"), (2, 1.6, 1.5, 1.5, 4)),
        ):
            entries = [entry for entry in self.view.timeline if entry.kind == kind]
            if entries:
                rows.append(self._list(heads, shares, [self._happened(kind, entry) for entry in entries]))
        none = [kind for kind in ("escalated", "moved") if not self._any(kind)]
        return [*rows, *([self._pairs(*((self._say(kind), self._say("none"), 1) for kind in none))] if none else [])]

    def _opinion(self, word: str) -> list[Row]:
        return [("passage", {"name": self._say(word), "text": "", "long": False, "least": 13})]

    def _signatures(self, *words: str) -> Row:
        return "signs", [[self._say(word), self._say("sign_date")] for word in words]

    # What happened

    def _happened(self, kind: str, entry: TimelineEntry) -> list[str]:
        task = self._task(entry.task or "")
        if kind == "escalated":
            heard = [self._name(person) for person in entry.told or [entry.data["person"]]]
            role = say("role", entry.data["role"], self.language)
            due = self._due_then(entry)
            late = entry.at - due if due else timedelta(0)
            after = self._span(late) if late >= timedelta(minutes=1) else self._say("at_due")
            return [self._at(entry.at), task, aside(LIST[self.language].join(heard), role, self.language), after]
        sent = entry.content or {}
        if kind == "moved":
            change = entry.data["because"]["changes"][-1]
            moved = [self._at(datetime.fromisoformat(change[name])) for name in ("due_before", "due_at")]
            allowed_by = self._name(change.get("allowed_by") or entry.by)
            why = (
                sent.get("reason")
                or sent.get("evidence")
                or (say("form", entry.form, self.language) if entry.form else "")
            )
            return [self._at(entry.at), task, *moved, allowed_by, str(why)]
        to = self._name(entry.data["person"])
        return [self._at(entry.at), task, to, self._name(entry.by), str(sent.get("reason", ""))]

    def _due_then(self, entry: TimelineEntry) -> datetime | None:
        """When a task was due at the time of an entry: an extension may have moved it later."""
        due = None
        for earlier in self.view.timeline:
            if earlier is entry:
                break
            if earlier.task == entry.task and earlier.kind in ("owed", "moved"):
                due = datetime.fromisoformat(earlier.data["due_at"])
        return due

    def _any(self, kind: str) -> bool:
        return any(entry.kind == kind for entry in self.view.timeline)

    def _all(self, form: type[F]) -> list[Handed[F]]:
        return [
            Handed(handed.task, handed.form, handed.by, handed.at)
            for handed in self.handed
            if isinstance(handed.form, form)
        ]

    def _last(self, form: type[F]) -> Handed[F] | None:
        return next(reversed(self._all(form)), None)

    @property
    def _opened_by(self) -> str | None:
        return next((entry.by for entry in self.view.timeline if entry.kind == "opened"), None)

    # What stands around it

    def _marks(self) -> list[str]:
        open_ = [self._say("open_mark")] if self.view.state == "open" else []
        erased = [self._say("erased_mark")] if any(entry.kind == ERASED for entry in self.view.timeline) else []
        return [*open_, *erased, *([self._say("masked_mark")] if self.mask else [])]

    def _notes(self) -> list[str]:
        waiting = [self._say("waiting", n=str(len(self.view.pending)))] if self.view.pending else []
        unfinished = [self._say("unfinished")] if self.view.state == "open" else []
        return [
            *unfinished,
            *waiting,
            self._say("times", offset=f"UTC{self.as_of.astimezone(self.zone).isoformat()[-6:]}"),
        ]

    def _footer(self) -> list[str]:
        state = self._say("as_of", at=self._at(self.as_of))
        if self.print is None:
            return [state, self._say("for_archive")]
        return [self._say("printed", by=self._name(self.print.by), at=self._at(self.print.at)), state]


def _handed(view: CaseView) -> Iterator[Handed[Form]]:
    """The forms that closed tasks, in their order; each of a bundle for itself."""
    for entry in view.timeline:
        if entry.kind != "done" or not entry.task or not entry.by or entry.content is None:
            continue
        sent = COMPLAINT.recordable[entry.form or ""].model_validate(entry.content)
        forms = [*sent.now(), *sent.then()] if isinstance(sent, Bundle) else [sent]
        name = entry.task.partition("-")[0]
        for form in forms:
            if form.form == name:
                yield Handed(entry.task, form, entry.by, entry.at)


def _round_of(said: Handed[Consent], solutions: list[Handed[Solution]]) -> int:
    """Which proposal the customer spoke of: the last one before."""
    return sum(solution.at <= said.at for solution in solutions)


def _place(task: TaskView) -> tuple[int, datetime]:
    """Tasks in the order of the process; proposals and what the customer said to them as they came."""
    forms = [form.form for form in COMPLAINT.forms]
    place = forms.index(task.form) if task.form in forms else len(forms)
    return forms.index("solution") if task.form == "consent" else place, task.done_at or task.due_at

"""What should have happened: a second reading of handbook 6.2 that knows nothing of our code.

It imports none of it. It has the policy, the directory, the ledger's rows of submissions and the senders' journal, and
reckons from them, in the order of recording, which tasks, rungs, notices and archives there must be. Of the rungs it
believes the ledger one thing, the instant each fired at, because the next one keeps its distance from it; and it holds
that instant against the clock. Everything else in the ledger is compared.
"""

import json
import re
import sqlite3
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

Row = dict[str, Any]
ACTS = ("extend", "reassign")
FORMS = ("reply", "solution", "consent", "execution", "callback", "record")
SAID_AT_THE_DOOR = ("already_theirs",)
"""Refusals that are no submission's: nothing was committed."""
ALARM = "alarm"
"""What the administrator hears of the house itself, which nobody here sends or owes."""
ZERO = timedelta(0)


@dataclass(frozen=True)
class Finding:
    """Something that should not be: of what kind, where, and the rows that show it."""

    kind: str
    """lost, doubled, early, missed, unfair, unheard, undecided, unanswered, wrong"""
    case: str
    what: str


@dataclass(frozen=True)
class Rung:
    """A rung that fired as it should have: when it could, and when it did."""

    case: str
    task: str
    generation: int
    rung: int
    could: datetime
    fired_at: datetime
    passed: bool


@dataclass
class Verdict:
    findings: list[Finding] = field(default_factory=list)
    rungs: list[Rung] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, case: str, what: str) -> None:
        if (finding := Finding(kind, case, what)) not in self.findings:
            self.findings.append(finding)


def judge(ledger: Path, policy: Path, directory: Path, journal: Path, until: datetime) -> Verdict:
    """Hold a ledger at rest against what the senders know and the policy says. What was planned after `until` may be to come."""
    rows = Ledger(ledger)
    promises = {
        name: Promise.of(name, told)
        for name, told in tomllib.loads(policy.read_text())["complaint"]["promises"].items()
    }
    people = People(tomllib.loads(directory.read_text()))
    verdict = Verdict()
    for case in rows.cases:
        told = CaseAsItShouldBe(case, rows.of("submissions", case["id"]), promises, people)
        told.tell()
        Comparison(told, rows, people, until, verdict).make()
    acknowledged(rows, journal, verdict)
    verdict.counts["alarms"] = sum(row["what"] == ALARM for row in rows.all("notices"))
    return verdict


# What it reads


def instant(text: str | None) -> datetime | None:
    """The ledger's instants are UTC without saying so, those in a form say their offset."""
    if text is None:
        return None
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def at(text: str) -> datetime:
    return instant(text) or datetime.max.replace(tzinfo=UTC)


SPAN = re.compile(r"(-?)P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")


def span(text: str) -> timedelta:
    found = SPAN.fullmatch(text)
    assert found, text
    sign, days, hours, minutes, seconds = found.groups()
    length = timedelta(int(days or 0), float(seconds or 0), minutes=int(minutes or 0), hours=int(hours or 0))
    return -length if sign else length


@dataclass(frozen=True)
class Promise:
    name: str
    within: timedelta
    ladder: tuple[tuple[timedelta, str], ...]

    @classmethod
    def of(cls, name: str, told: Row) -> "Promise":
        return cls(name, span(told["within"]), tuple((span(after), who) for after, who in told["ladder"]))


class Ledger:
    """Its rows, by table and case."""

    TABLES = {"submissions": "recorded_at", "tasks": "owed_at", "deadlines": "planned_at", "events": "id"} | {
        "notices": "id",
        "archive": "case_id",
    }

    def __init__(self, file: Path) -> None:
        connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        connection.row_factory = sqlite3.Row
        self.cases = [dict(row) for row in connection.execute("select * from cases order by opened_at")]
        self._rows: dict[str, dict[str, list[Row]]] = {}
        for table, order in self.TABLES.items():
            by_case = self._rows[table] = defaultdict(list)
            for row in connection.execute(f"select * from {table} order by {order}"):  # noqa: S608 — names of our own
                by_case[row["case_id"]].append(dict(row))
        connection.close()

    def of(self, table: str, case: str) -> list[Row]:
        return self._rows[table][case]

    def all(self, table: str) -> Iterator[Row]:
        return (row for rows in self._rows[table].values() for row in rows)


class People:
    """One person a role and region, as in the sample; more than one would be for the desk to choose."""

    def __init__(self, directory: Row) -> None:
        self._people = directory["people"]
        self._regions = {store["code"]: store["region"] for store in directory["stores"]}

    def region(self, store: str | None) -> str | None:
        return self._regions.get(store)

    def who(self, role: str, region: str | None) -> set[str]:
        able = [person for person in self._people if person["role"] == role]
        local = [person for person in able if region in person.get("regions", [])]
        return {person["id"] for person in local or able}


# The handbook's page, read again


@dataclass
class Armed:
    """A task's clock between two moves of it."""

    generation: int
    due: datetime
    since: datetime
    first: int
    until: datetime | None = None


@dataclass
class Task:
    key: str
    form: str
    promise: Promise
    owed_at: datetime
    owners: list[tuple[datetime, str]]
    after: str | None
    clocks: list[Armed]
    done_at: datetime | None = None
    done_by: str | None = None

    @property
    def due(self) -> datetime:
        return self.clocks[-1].due

    @property
    def is_open(self) -> bool:
        return self.done_at is None

    def owner(self, at: datetime) -> str:
        """Whose it was when something recorded at this instant had been decided."""
        return [person for since, person in self.owners if since <= at][-1]


class CaseAsItShouldBe:
    """Reckons one case from its submissions."""

    def __init__(self, case: Row, submissions: list[Row], promises: dict[str, Promise], people: People) -> None:
        self.case = case
        self.submissions = submissions
        self.tasks: dict[str, Task] = {}
        self.decisions: dict[str, str | None] = {}
        """By submission: why it is refused, None where it is taken."""
        self.events: Counter[tuple[str, str | None, str | None, datetime]] = Counter()
        self.told: Counter[tuple[str, str, str | None, str | None]] = Counter()
        self.owners_told: Counter[tuple[str, str, str | None, str]] = Counter()
        self.closed_at: datetime | None = None
        self._promises = promises
        self._people = people
        self._proposed: Row = {}
        self._called_at: datetime | None = None
        self._solvers: set[str] = set()

    def tell(self) -> None:
        for row in self.submissions:
            self.row, self.now = row, at(row["recorded_at"])
            self.form = json.loads(row["outline"])
            self.decisions[row["id"]] = reason = self.objection()
            if reason is None:
                before = set(self.tasks)
                self.take()
                self.tell_owners([task for key, task in self.tasks.items() if key not in before])

    def tell_owners(self, owed: list[Task]) -> None:
        """Who owes something new: of a new case once, later of what somebody else's form made him owe."""
        if self.row["form"] == "open":
            self.owners_told["new", owed[0].owner(self.now), None, f"new/-/{self.row['id']}"] += 1
            return
        for task in owed:
            if task.is_open and task.owner(self.now) != self.row["by"]:
                self.owners_told["task", task.owner(self.now), task.key, f"task/{task.key}/{self.row['id']}"] += 1

    # Order and openness

    def objection(self) -> str | None:
        name = self.row["form"]
        if name == "open":
            return None
        if self.closed_at:
            return "case_closed"
        if name in ACTS:
            return self.objection_to_act()
        if name == "solve":
            parts = ["reply", "solution"] if "reply" in self.form else ["solution"]
            return next(filter(None, map(self.objection_to, parts)), None)
        return self.objection_to(name)

    def objection_to_act(self) -> str | None:
        task = self.tasks.get(self.form["task"])
        if task is None:
            return "no_such_task"
        if not task.is_open:
            return "already_done"
        if self.row["form"] == "extend" and at(self.form["due_at"]) <= task.due:
            return "not_later"
        return None

    def objection_to(self, form: str) -> str | None:
        owed = [task for task in self.tasks.values() if task.form == form]
        if not owed:
            return "not_owed_yet"
        task = next((task for task in owed if task.is_open), None)
        if task is None:
            return "already_done"
        if task.after and not self.is_done(task.after):
            return "not_possible_yet"
        return None

    def is_done(self, form: str) -> bool:
        return any(task.form == form and not task.is_open for task in self.tasks.values())

    # What follows

    def take(self) -> None:
        match self.row["form"]:
            case "open":
                self.happens("opened", None)
                received = at(self.form["received_at"])
                self.owe("reply", "reply", received)
                self.owe("solution", "solution", received)
                self.owe("callback", "callback", received, after="execution")
            case "extend":
                self.extend(self.tasks[self.form["task"]], at(self.form["due_at"]))
            case "reassign":
                key, person = self.form["task"], self.form["person"]
                former = self.tasks[key].owner(self.now)
                if former not in (person, self.row["by"]):
                    self.owners_told["given_away", former, key, f"given_away/{key}/{self.row['id']}"] += 1
                self.tasks[key].owners.append((self.now, person))
                self.happens("reassigned", key)
                self.tells("assigned", person, key)
            case "solve":
                if "reply" in self.form:
                    self.done("reply", self.form)
                for form in ("solution", "consent", "execution"):
                    self.done(form, {"accepted": True})
            case form:
                self.done(form, self.form)

    def done(self, form: str, content: Row) -> None:
        task = next(task for task in self.tasks.values() if task.form == form and task.is_open)
        task.done_at, task.done_by = self.now, self.row["by"]
        task.clocks[-1].until = self.now
        self.happens("done", task.key)
        if form == "solution":
            self._proposed = content
            self._solvers.add(self.row["by"])
            self.owe("consent", "consent", self.now)
        elif form == "consent" and content["accepted"]:
            promised = self._proposed.get("duration")
            self.owe("execution", "execution", self.now, within=span(promised) if promised else None)
        elif form == "consent":
            self.owe("solution", "new_solution", self.now)
        elif form == "callback":
            self._called_at = self.now
            if self.row["by"] in self._solvers:
                self.happens("noted", None)
        elif form == "record":
            self.closed_at = self.now
            self.happens("archived", None)
        if self._called_at and self.is_done("reply") and "record" not in self.tasks:
            self.owe("record", "record", self._called_at)

    def owe(
        self, form: str, promise: str, since: datetime, after: str | None = None, within: timedelta | None = None
    ) -> None:
        nth = 1 + sum(task.form == form for task in self.tasks.values())
        key = form if nth == 1 else f"{form}-{nth}"
        said = self._promises[promise]
        clock = Armed(0, since + (within or said.within), self.now, first=0)
        owner = next(iter(self._people.who("specialist", self.case["region"])))
        self.tasks[key] = Task(key, form, said, self.now, [(self.now, owner)], after, [clock])
        self.happens("owed", key)

    def extend(self, task: Task, due: datetime) -> None:
        task.clocks[-1].until = self.now
        gone = sum(offset < ZERO and due + offset <= self.now for offset, _ in task.promise.ladder)
        task.clocks.append(Armed(len(task.clocks), due, self.now, first=gone))
        self.happens("moved", task.key)
        self.tells("extended", task.owner(self.now), task.key)

    def happens(self, kind: str, task: str | None) -> None:
        self.events[kind, task, self.row["id"], self.now] += 1

    def tells(self, what: str, person: str, task: str) -> None:
        self.happens("told", task)
        self.told[what, person, task, self.row["id"]] += 1


# The comparison


class Comparison:
    """One case as it should be, beside what the ledger says of it."""

    def __init__(self, told: CaseAsItShouldBe, rows: Ledger, people: People, until: datetime, verdict: Verdict) -> None:
        self.told = told
        self.id = told.case["id"]
        self.rows = {table: rows.of(table, self.id) for table in Ledger.TABLES}
        self.rows["notices"] = [row for row in self.rows["notices"] if row["what"] != ALARM]
        self.people = people
        self.until = until
        self.verdict = verdict
        self.deadlines = {(d["task"], d["generation"], d["rung"]): d for d in self.rows["deadlines"]}
        self.notices = Counter((n["what"], n["person"], n["task"], n["key"]) for n in self.rows["notices"])
        self.expected_notices: Counter[tuple[str, str, str | None, str]] = Counter()

    def make(self) -> None:
        self.verdict.counts["cases"] += 1
        self.the_decisions()
        self.the_tasks()
        self.the_ladders()
        self.the_case()
        self.the_events()
        self.the_notices()

    def wrong(self, what: str, ledger: object, should: object) -> None:
        if ledger != should:
            self.verdict.add("wrong", self.id, f"{what}: {ledger} in the ledger, should be {should}")

    def the_decisions(self) -> None:
        for row in self.rows["submissions"]:
            reason = self.told.decisions[row["id"]]
            self.verdict.counts["refused" if reason else "taken"] += 1
            if row["state"] == "pending":
                self.verdict.add("undecided", self.id, f"{row['form']} {row['id']}, attempts {row['attempts']}")
                continue
            refusal = json.loads(row["refusal"] or "null")
            known = (row["state"], refusal["code"] if refusal else None)
            self.wrong(f"{row['form']} {row['id']}", known, ("refused", reason) if reason else ("decided", None))

    def the_tasks(self) -> None:
        rows = {row["key"]: row for row in self.rows["tasks"]}
        self.wrong("tasks", sorted(rows), sorted(self.told.tasks))
        for key, task in self.told.tasks.items():
            if row := rows.get(key):
                known = (row["form"], row["state"], row["done_by"], row["generation"], row["after"], row["owner"])
                state = "open" if task.is_open else "done"
                owner, generation = task.owners[-1][1], task.clocks[-1].generation
                self.wrong(f"task {key}", known, (task.form, state, task.done_by, generation, task.after, owner))
                times = tuple(instant(row[name]) for name in ("owed_at", "due_at", "done_at"))
                self.wrong(f"times of task {key}", times, (task.owed_at, task.due, task.done_at))

    # Ladders

    def the_ladders(self) -> None:
        expected = set()
        for task in self.told.tasks.values():
            for clock in task.clocks:
                fired: datetime | None = None
                for rung in range(clock.first, len(task.promise.ladder)):
                    expected.add((task.key, clock.generation, rung))
                    fired = self.the_rung(task, clock, rung, fired)
        for surplus in self.deadlines.keys() - expected:
            self.verdict.add("doubled", self.id, f"deadline {surplus} is of no task")

    def the_rung(self, task: Task, clock: Armed, rung: int, before: datetime | None) -> datetime | None:
        """Compare one rung, the one before having fired when it did; when this one did."""
        offset, role = task.promise.ladder[rung]
        planned = clock.due + offset
        if before and rung and task.promise.ladder[rung - 1][0] >= ZERO:
            planned = max(planned, before + offset - task.promise.ladder[rung - 1][0])
        must = (clock.until is None or planned < clock.until) and planned <= self.until
        name = f"rung {task.key}/{clock.generation}/{rung} planned {planned:%H:%M:%S.%f}"
        row = self.deadlines.get((task.key, clock.generation, rung))
        if row is None:
            self.verdict.add("missed" if must else "wrong", self.id, f"{name} is not in the ledger")
            return None
        self.wrong(f"plan of {name}", instant(row["planned_at"]), planned)
        self.wrong(f"{name}: armed, role", (instant(row["armed_at"]), row["role"]), (clock.since, role))
        fired = instant(row["fired_at"])
        if must:
            self.verdict.counts["demanded"] += 1
        if fired is None:
            if must:
                self.verdict.add("missed", self.id, f"{name}, open until {clock.until}")
            return None
        if clock.until and planned >= clock.until:
            self.verdict.add("unfair", self.id, f"{name} fired {fired}, though over at {clock.until}")
        could = max(planned, clock.since)
        if fired < could:
            self.verdict.add("early", self.id, f"{name} fired {could - fired} before it could")
        passed = offset < ZERO and clock.due <= fired
        self.wrong(f"{name} passed", bool(row["passed"]), passed)
        self.who_heard(task, clock, rung, row, planned, fired, passed)
        self.verdict.rungs.append(Rung(self.id, task.key, clock.generation, rung, could, fired, passed))
        return fired

    def who_heard(
        self, task: Task, clock: Armed, rung: int, row: Row, planned: datetime, fired: datetime, passed: bool
    ) -> None:
        offset, role = task.promise.ladder[rung]
        able = {task.owner(max(planned, clock.since))} if role == "owner" else self.people.who(role, None)
        if row["person"] not in able:
            self.wrong(f"who heard of {task.key}/{rung}", row["person"], able)
        kind = "passed" if passed else "reminded" if offset < ZERO else "escalated"
        self.told.events[kind, task.key, None, fired] += 1
        if not passed:
            what = "reminder" if offset < ZERO else "overdue"
            key = f"{self.id}/{task.key}/{clock.generation}/{rung}"
            self.expected_notices[what, row["person"], task.key, key] += 1
            owner = task.owner(max(planned, clock.since))
            if what == "overdue" and owner != row["person"]:
                self.expected_notices["breached", owner, task.key, key] += 1
        if bool(row["delivered_at"]) == passed:
            self.wrong(f"{task.key}/{rung} delivered", row["delivered_at"], "nothing" if passed else "something")

    # The case, what happened, who was told

    def the_case(self) -> None:
        case, closed = self.told.case, self.told.closed_at
        opening = self.rows["submissions"][0]
        self.wrong("region", case["region"], self.people.region(case["store"]))
        self.wrong("opened", (opening["form"], case["opened_at"]), ("open", opening["recorded_at"]))
        known = (case["state"], instant(case["closed_at"]), case["closed_because"])
        self.wrong("state", known, ("archived", closed, "completed") if closed else ("open", None, None))
        dues = [task.due for task in self.told.tasks.values() if task.is_open]
        self.wrong("due", instant(case["due_at"]), min(dues, default=None))
        archived = [instant(row["archived_at"]) for row in self.rows["archive"]]
        if archived != ([closed] if closed else []):
            self.verdict.add("lost" if closed else "wrong", self.id, f"archive {archived}, closed at {closed}")
        self.verdict.counts["archived" if closed else "open"] += 1

    def the_events(self) -> None:
        known = Counter((e["kind"], e["task"], e["submission"], at(e["at"])) for e in self.rows["events"])
        self.differences("event", known, self.told.events)

    def the_notices(self) -> None:
        self.expected_notices += self.told.owners_told
        for what, person, task, submission in self.told.told:
            self.expected_notices[what, person, task, f"told/{what}/owner/{task}/{submission}"] += 1
        for row in self.rows["submissions"]:
            refused = ("refused", row["by"], row["task"], f"{row['id']}/refused")
            if self.told.decisions[row["id"]] and (row["deferred"] or self.notices[refused]):
                self.expected_notices[refused] += 1
        self.differences("notice", self.notices, self.expected_notices)
        for row in self.rows["notices"]:
            if row["delivered_at"] is None:
                self.verdict.add("missed", self.id, f"notice {row['key']} was never delivered")

    def differences(self, name: str, ledger: Counter[Any], should: Counter[Any]) -> None:
        for row in (should - ledger).elements():
            self.verdict.add("missed", self.id, f"{name} {spoken(row)} is not there")
        for row in (ledger - should).elements():
            self.verdict.add("doubled", self.id, f"{name} {spoken(row)} is one too many")


def spoken(row: Iterable[Any]) -> str:
    return " ".join(str(value) for value in row)


# What was acknowledged


def acknowledged(rows: Ledger, journal: Path, verdict: Verdict) -> None:
    """Whatever a sender was told holds: what was taken is there once, what was refused did nothing."""
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    answers = [entry for entry in entries if entry["what"] == "answer" and entry["form"] != "look"]
    submissions = {row["id"]: row for row in rows.all("submissions")}
    notices = Counter(row["key"] for row in rows.all("notices"))
    the_numbers(rows, answers, verdict)
    for answer in answers:
        case, status, form = answer.get("case", "-"), answer["status"], answer["form"]
        row = submissions.get(answer["submission"] or answer["key"])
        name = f"{form} {answer['key'] or answer['number']}, answered {status}"
        if status in (200, 201, 202):
            verdict.counts["acknowledged"] += 1
            if row is None or row["case_id"] != case or row["form"] != form:
                verdict.add("lost", case, f"{name}, its row {row and (row['case_id'], row['form'])}")
            elif status != 202 and row["state"] != "decided":
                verdict.add("lost", case, f"{name}, and is {row['state']}")
            elif status == 202 and row["state"] == "refused" and notices[f"{row['id']}/refused"] != 1:
                verdict.add("unheard", case, f"{name}, was refused, and its sender never heard")
        elif status == 409 and answer["code"] in SAID_AT_THE_DOOR and row is None:
            verdict.counts["refused at the door"] += 1
        elif status == 409 and (row is None or row["state"] != "refused"):
            verdict.add("wrong", case, f"{name} {answer['code']}, and is {row and row['state']}")
        elif status == 422 and row is not None:
            verdict.add("wrong", case, f"{name}, and is there")
        elif status not in (409, 422, 503):
            verdict.add("wrong", case, f"{name} {answer['code']}")
    for entry in entries:
        if entry["what"] == "gave_up":
            verdict.add("unanswered", entry.get("case", "-"), f"{entry['form']} {entry['number']}")
    sent = {entry["key"] for entry in entries if entry.get("key")} | {row["id"] for row in openings(submissions)}
    for surplus in submissions.keys() - sent:
        verdict.add("doubled", submissions[surplus]["case_id"], f"submission {surplus} was sent by nobody")


def openings(submissions: dict[str, Row]) -> list[Row]:
    return [row for row in submissions.values() if row["form"] == "open"]


def the_numbers(rows: Ledger, answers: list[Row], verdict: Verdict) -> None:
    """A business number is one case for ever; one call heard 201, all others the same case."""
    in_ledger = Counter(case["number"] for case in rows.cases)
    by_number: dict[str, list[Row]] = defaultdict(list)
    for answer in answers:
        if answer["form"] == "open" and answer["status"] in (200, 201, 202):
            by_number[answer["number"]].append(answer)
    for number, heard in by_number.items():
        cases = {answer["case"] for answer in heard}
        if in_ledger[number] != 1 or len(cases) != 1:
            verdict.add(
                "doubled" if in_ledger[number] else "lost", str(cases), f"{number} is {in_ledger[number]} cases"
            )
        if sum(answer["status"] == 201 for answer in heard) > 1:
            verdict.add("doubled", str(cases), f"{number} was opened twice (201)")

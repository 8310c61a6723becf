"""The complaint as handbook 5.2 and 7 have it, told a second time and simply: what is owed, and what becomes of an act.

It shares no code with the product: `tests/test_fuzz.py` holds the one against the other. A complaint is a position
(`stage`) and what is owed; of another kind, the position is put aside, and taken up again on the way back.
"""

from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)
SOON = timedelta(days=30)
HANDLING = ("reply", "solution", "consent", "execution", "callback", "sign_off", "supplement")
SHANGHAI = ZoneInfo("Asia/Shanghai")

HEADQUARTERS = {"specialist", "manager"}
MAY = {
    "decision": {"manager", "director"},
    "sign_off": {"manager", "director"},
    "no_agreement": {"manager", "director"},
    "extend": {"manager"},
    "reassign": {"manager"},
    "opinion": {"supervisor", "manager"},
    "supplement": {"store", *HEADQUARTERS},
    "amend": {"store", *HEADQUARTERS},
    "back_again": {"store", *HEADQUARTERS},
    "assist": {"contact", "store", *HEADQUARTERS},
}
"""Who may hand in what; of what is not named, specialists and managers."""
FORMS = (
    *("reply", "solution", "consent", "execution", "callback", "record", "agreement", "agreed_reply"),
    *("decision", "sign_off", "assist", "external_reply", "opinion", "supplement"),
)
TO_BE_TRIED = ("unreachable", "wrong_number", "rescheduled")
NOT_REACHED = (*TO_BE_TRIED, "refused_contact")
OWN_REMEDIES = ("exchange", "repair", "apology", "information", "other")
STORES = ("incomplete", "stores_callback", "stores_sign_off")
OUTLIVING = ("external_reply", "opinion")
"""Owed on, whatever becomes of the complaint."""
OVER = ("record", "outside", "archived")
"""Where the customer's part is over: no side exit leads out of it."""


@dataclass
class Due:
    """A form that is owed, and until when."""

    key: str
    form: str
    due: datetime
    unit: str | None = None
    side: bool = False
    """Nobody waits for it."""


@dataclass
class Position:
    """Where a case of one kind stands, and what it was owed there."""

    stage: str
    main: list[Due]


@dataclass
class Matter:
    """One complaint. `at` is always the instant a submission was recorded."""

    kind: str
    received_at: datetime
    origin: str = "direct"
    has_opinion: bool = True
    help_wanted: bool = False
    reachable: bool = True

    stage: str = ""
    because: str = "completed"
    cycle: int = 1
    refusals: int = 0
    kinds_before: list[str] = field(default_factory=list)
    tasks: list[Due] = field(default_factory=list)
    asked: list[Due] = field(default_factory=list)
    """Every question to a department or store, answered or not."""
    known: dict[str, int] = field(default_factory=dict)
    attempts: list[tuple[date, str]] = field(default_factory=list)
    to_be_tried_again: bool = False
    approvals: list[dict[str, Any]] = field(default_factory=list)
    spent: list[dict[str, Any]] = field(default_factory=list)
    put_aside: dict[str, Position] = field(default_factory=dict)
    replied: bool = False
    reply_due: datetime | None = None
    """Of the reply that is owed or was put aside."""
    ours_since: datetime | None = None
    second: bool = False
    """The second handling's callback is owed with its solution."""
    duration: timedelta | None = None
    called: tuple[datetime, bool] | None = None
    """The last callback that is done with: when, and whether the customer was dissatisfied."""
    record_since: datetime | None = None
    closed_at: datetime | None = None

    # What is owed

    def open(self, form: str) -> list[Due]:
        return [task for task in self.tasks if task.form == form]

    def owe(self, form: str, due: datetime, unit: str | None = None, side: bool = False) -> None:
        nth = self.known[form] = self.known.get(form, 0) + 1
        self.tasks.append(Due(form if nth == 1 else f"{form}-{nth}", form, due, unit, side))

    def drop(self, *keeping: str) -> None:
        self.tasks = [task for task in self.tasks if task.form in keeping]

    # What becomes of an act

    def at_the_door(self, form: str, person: "Person", task: str | None, now: datetime) -> str | None:
        """What the door says before anything is kept."""
        if person.role not in MAY.get(form, HEADQUARTERS):
            return "may_not_hand_in"
        if form == "duplicate" and any(map(self.open, ("opinion", "consent", "execution"))):
            return "other_case_owes_less"  # the fuzz's other one is a customer's own, and new
        if person.sees_all:
            return self.against_opening_again(now) if form == "back_again" else None
        theirs = [owed.key for owed in self.asked if owed.unit == person.unit]
        return None if theirs and form == "assist" and (task is None or task in theirs) else "no_such_case"

    def against_opening_again(self, now: datetime) -> str | None:
        """Soon after its end, unless the matter went on in another."""
        if self.closed_at is None:
            waits = HANDLING if self.kind == "complaint" else (*HANDLING, "record", "agreed_reply")
            return "case_is_open" if any(map(self.open, waits)) else None
        if now > self.closed_at + SOON:
            return "closed_too_long"
        return "closed_for_good" if self.because == "duplicate" else None

    def verdict(self, form: str, said: dict[str, Any], person: "Person", task: str | None) -> str:
        """`decided`, or the desk's reason against it."""
        if self.stage == "archived":
            return "decided" if form == "back_again" else "case_closed"
        if form in ("extend", "reassign"):
            return self.against_moving(form, said)
        if form == "solve":
            parts = ["reply", "solution"] if said.get("reply") else ["solution"]
            against = [self.against_form(part, said, person, None) for part in parts]
            return next((code for code in against if code), "decided")
        if form in FORMS:
            return self.against_form(form, said, person, self.meant(form, person, task)) or "decided"
        return self.against_act(form, said) or "decided"

    def meant(self, form: str, person: "Person", task: str | None) -> str | None:
        """Who sees only what he is asked means the one task he owes."""
        theirs = [owed for owed in self.asked if owed.unit == person.unit and not person.sees_all]
        still = [owed.key for owed in theirs if owed in self.tasks] or [owed.key for owed in theirs]
        return task or (still[0] if len(still) == 1 else None)

    def against_moving(self, form: str, said: dict[str, Any]) -> str:
        here = next((task for task in self.tasks if task.key == said["task"]), None)
        if here is None:
            name, _, nth = said["task"].partition("-")
            return "already_done" if int(nth or 1) <= self.known.get(name, 0) else "no_such_task"
        return "not_later" if form == "extend" and said["due_at"] <= here.due else "decided"

    def against_form(self, form: str, said: dict[str, Any], person: "Person", task: str | None) -> str | None:
        waiting = [owed for owed in self.open(form) if task in (None, owed.key)]
        if not self.known.get(form) or (task and int(task.partition("-")[2] or 1) > self.known[form]):
            return "not_owed_yet"
        if not waiting:
            return "already_done"
        if len(waiting) > 1:
            return "which_task"
        if form == "callback" and self.stage in ("solution", "solution_again", "consent", "word", "execution"):
            return "not_possible_yet"
        if form == "solution" and not self.may_promise(said, person):
            return "beyond_authority"
        if form == "agreement":
            first = next(iter(self.open("solution")), None)
            due = first.due if first else (self.ours_since or self.received_at) + 48 * HOUR
            allowed = [word["reply_by"] for word in self.approvals if word.get("reply_by")]
            return "past_the_48_hours" if said["reply_at"] > max([due, *allowed]) else None
        if form == "callback" and said["outcome"] in TO_BE_TRIED and not self.tried_enough():
            return "not_tried_enough"
        return None

    def may_promise(self, said: dict[str, Any], person: "Person") -> bool:
        own = is_own(said)
        return person.role != "specialist" or own or any(self.covers(word, said) for word in self.approvals)

    def covers(self, word: dict[str, Any], said: dict[str, Any]) -> bool:
        """An approval without an amount is for one proposal."""
        limit = word.get("amount_limit")
        return said["amount"] <= limit if limit is not None else word not in self.spent

    def tried_enough(self) -> bool:
        if self.to_be_tried_again:
            return False
        days, channels = {day for day, _ in self.attempts}, {channel for _, channel in self.attempts}
        return len(self.attempts) >= 3 and len(days) >= 2 and len(channels) >= 2

    def against_act(self, form: str, said: dict[str, Any]) -> str | None:
        if form == "reclassify" and said["kind"] == self.kind:
            return "of_this_kind"
        if form == "duplicate" and self.open("external_reply"):
            return "reference_open"
        if form == "duplicate" and self.open("sign_off"):
            return "sign_off_open"
        if form == "no_contact" and self.reachable:
            return "customer_can_be_reached"
        leaves = form in ("withdraw", "no_agreement", "no_contact", "reclassify", "duplicate")
        return "too_late_to_leave" if leaves and self.stage in OVER else None

    # What follows

    def take(self, form: str, said: dict[str, Any], at: datetime, task: str | None = None) -> None:
        """A form that was decided, for the `task` that was meant."""
        if form == "solve":
            for part in (*(["reply"] if said.get("reply") else []), "solution", "consent", "execution"):
                self.take(part, {**said, "accepted": True, "duration": None}, at)
            return
        if form in FORMS:
            [done] = [owed for owed in self.open(form) if task in (None, owed.key)]
            self.tasks.remove(done)
            said = {**said, "side": done.side}
        getattr(self, f"after_{form}", lambda said, at: None)(said, at)
        if self.stage == "outside" and not any(map(self.open, OUTLIVING)):
            self.stage, self.tasks = "archived", []
        self.closed_at = at if self.stage == "archived" else None

    def begin(self, at: datetime) -> "Matter":
        """The case is opened, or found to be of another kind."""
        if self.kind == "junk":
            self.stage = "junk"
            self.owe("sign_off", at + 24 * HOUR)
            return self
        if position := self.put_aside.pop(self.group, None):
            self.stage = position.stage
            for task in position.main:
                if not (task.form == "supplement" and self.reachable):
                    self.owe(task.form, task.due)
            if self.stage == "incomplete" and self.reachable:  # amended meanwhile
                self.stores_is_complete(at)
            elif self.kind == "query" or (self.kind == "complaint" and self.stage not in STORES):
                self.owe_reply(self.received_at)
        elif self.kind == "query":
            self.stage = "query"
            self.owe_reply(self.ours_since or self.received_at)
        elif self.kind != "complaint":
            self.stage = "filed"
            self.owe("record", at + 24 * HOUR)
        elif self.origin == "store":
            self.begin_of_store(at)
        else:
            self.begin_of_ours(self.received_at)
        if self.kind in ("complaint", "junk"):
            return self
        if not self.kinds_before or self.what_is_left():
            self.answered()
        else:
            self.stage = "nothing_left"
            self.owe("sign_off", at + 24 * HOUR)
        return self

    def what_is_left(self) -> list[Due]:
        """Of a kind that owes less than a complaint."""
        last = "reply" if self.kind == "query" else "record"
        return [*self.open(last), *self.open("agreed_reply")]

    def answered(self) -> None:
        if self.stage in ("query", "filed") and not self.what_is_left():
            self.finish("completed" if self.kind == "query" else "filed")

    @property
    def group(self) -> str:
        return self.kind if self.kind in ("complaint", "query", "junk") else "filed"

    def begin_of_store(self, at: datetime) -> None:
        if not self.has_opinion:
            self.owe("opinion", at + 48 * HOUR)
        if not self.reachable:
            self.stage = "incomplete"
            self.owe("supplement", at + 48 * HOUR)
        if self.reachable or self.help_wanted:
            self.stores_is_complete(at)

    def stores_is_complete(self, at: datetime) -> None:
        if self.help_wanted:
            self.begin_of_ours(at)
        elif not self.reachable:
            self.leave("nobody_to_call", at)
        else:
            self.stage = "stores_callback"
            self.owe("callback", self.received_at + WEEK)

    def begin_of_ours(self, since: datetime) -> None:
        if self.origin == "store":
            self.ours_since, self.replied, self.reply_due = since, False, None
        self.owe_reply(since)
        self.owe("solution", since + 48 * HOUR)
        self.owe("callback", since + WEEK)
        self.stage = "solution"

    def owe_reply(self, since: datetime) -> None:
        if not self.replied and not self.open("reply"):
            self.owe("reply", self.reply_due or since + 24 * HOUR)

    def after_reply(self, said: dict[str, Any], at: datetime) -> None:
        self.replied = True
        self.reply_is_done()

    def reply_is_done(self) -> None:
        self.answered()
        if self.stage == "reply":
            self.to_record()

    def after_agreed_reply(self, said: dict[str, Any], at: datetime) -> None:
        self.answered()

    def after_solution(self, said: dict[str, Any], at: datetime) -> None:
        self.duration = said["duration"]
        if not is_own(said):
            self.spent += [word for word in self.approvals if word.get("amount_limit") is None]
        if self.second:
            self.second = False
            self.owe("callback", at + WEEK)
        self.owe("consent", at + 72 * HOUR)
        self.stage = "consent"

    def after_consent(self, said: dict[str, Any], at: datetime) -> None:
        if said["accepted"]:
            self.owe("execution", at + (self.duration or 24 * HOUR))
            self.stage = "execution"
            return
        self.refusals += 1
        if self.refusals >= 2 or self.demands_too_much(said):
            self.owe("decision", at + 24 * HOUR)
            self.stage = "word"
        else:
            self.owe("solution", at + 24 * HOUR)
            self.stage = "solution_again"

    def demands_too_much(self, said: dict[str, Any]) -> bool:
        """More than the specialist may promise as it is."""
        wanted = {"amount": said.get("demand_amount", 0), "remedy": said.get("demand_remedy", OWN_REMEDIES[0])}
        return not is_own(wanted) and not any(self.covers(word, wanted) for word in self.approvals)

    def after_execution(self, said: dict[str, Any], at: datetime) -> None:
        self.stage, self.attempts = "callback", []
        self.to_be_tried_again = False

    def after_callback(self, said: dict[str, Any], at: datetime) -> None:
        self.called = (at, said["outcome"] == "dissatisfied")
        if said["outcome"] in NOT_REACHED:
            self.owe("sign_off", at + 24 * HOUR)
            self.stage = "stores_sign_off" if self.stage == "stores_callback" else "sign_off"
        else:
            self.customer_was_called()

    def after_sign_off(self, said: dict[str, Any], at: datetime) -> None:
        if self.stage in ("junk", "nothing_left"):
            if said["approved"] and self.kind == "junk":
                self.finish("junk")
            elif said["approved"]:
                self.stage = "query" if self.kind == "query" else "filed"
                self.answered()
            else:
                earlier = [n for n, kind in enumerate(self.kinds_before) if kind != self.kind]
                at_last = earlier[-1] if earlier else 0
                self.kind = self.kinds_before[at_last] if earlier else "complaint"
                del self.kinds_before[at_last:]
                self.begin(at)
        elif said["approved"]:
            self.customer_was_called()
        else:
            self.owe("callback", at + WEEK)
            self.to_be_tried_again = True
            self.stage = "stores_callback" if self.stage == "stores_sign_off" else "callback"

    def customer_was_called(self) -> None:
        assert self.called
        at, dissatisfied = self.called
        if self.stage.startswith("stores") and not dissatisfied:
            self.finish("completed")
        elif self.stage.startswith("stores"):
            self.handled_again()
            self.begin_of_ours(at)
        elif dissatisfied:
            self.handled_again()
            self.owe("solution", at + 48 * HOUR)
            self.stage, self.second = "solution", True
        else:
            self.record_since, self.stage = at, "reply"
            if not self.open("reply"):
                self.to_record()

    def handled_again(self) -> None:
        self.cycle, self.refusals, self.attempts = self.cycle + 1, 0, []

    def after_supplement(self, said: dict[str, Any], at: datetime) -> None:
        self.reachable |= "customer" in said
        if self.stage == "incomplete":
            self.stores_is_complete(at)

    def after_amend(self, said: dict[str, Any], at: datetime) -> None:
        self.reachable |= "customer" in said
        if self.reachable and (lacking := self.open("supplement")):
            self.tasks.remove(*lacking)
            if self.stage == "incomplete":
                self.stores_is_complete(at)

    def after_decision(self, said: dict[str, Any], at: datetime) -> None:
        if said["verdict"] == "reject":
            self.approvals = []
        elif said["verdict"] == "approve":
            self.approvals.append({**said, "at": at})
        if self.stage == "word" and not said["side"]:
            self.owe("solution", at + 24 * HOUR)
            self.stage = "solution_again"

    def to_record(self) -> None:
        assert self.record_since
        self.stage = "record"
        self.owe("record", self.record_since + 24 * HOUR)

    def after_record(self, said: dict[str, Any], at: datetime) -> None:
        if self.stage == "filed":
            self.answered()
        else:
            self.stage = "outside"

    def finish(self, because: str) -> None:
        self.because, self.stage = because, "outside"
        self.drop(*OUTLIVING)
        if not self.tasks:
            self.stage = "archived"

    def leave(self, because: str, at: datetime) -> None:
        self.drop(*OUTLIVING)
        self.because, self.record_since = because, at
        self.to_record()

    # What may come at any time

    def after_ask_manager(self, said: dict[str, Any], at: datetime) -> None:
        self.owe("decision", at + 24 * HOUR, side=True)

    def after_out_of_authority(self, said: dict[str, Any], at: datetime) -> None:
        self.owe("agreement", at + HOUR)
        self.owe("decision", at + 24 * HOUR, side=True)

    def after_agreement(self, said: dict[str, Any], at: datetime) -> None:
        """The 24 hours are kept by it; a later answer moves the 48, and the manager decides before."""
        reply_at = said["reply_at"]
        self.owe("agreed_reply", reply_at)
        for task in self.open("solution"):
            task.due = max(task.due, reply_at)
        decide_by = max(reply_at - 2 * HOUR, at + (reply_at - at) / 2)
        for task in self.open("decision"):
            task.due = min(task.due, decide_by)
        if self.open("reply"):
            self.tasks = [task for task in self.tasks if task.form != "reply"]
            self.replied = True
            self.reply_is_done()

    def after_ask_department(self, said: dict[str, Any], at: datetime) -> None:
        self.owe("assist", at + 24 * HOUR, said.get("store") or said["department"], side=True)
        self.asked.append(self.tasks[-1])

    def after_refer(self, said: dict[str, Any], at: datetime) -> None:
        self.owe("external_reply", said["due_at"])

    def after_attempt(self, said: dict[str, Any], at: datetime) -> None:
        self.to_be_tried_again = False
        self.attempts.append((at.astimezone(SHANGHAI).date(), said["channel"]))

    def after_extend(self, said: dict[str, Any], at: datetime) -> None:
        next(task for task in self.tasks if task.key == said["task"]).due = said["due_at"]

    def after_withdraw(self, said: dict[str, Any], at: datetime) -> None:
        self.leave("withdrawn", at)

    def after_no_contact(self, said: dict[str, Any], at: datetime) -> None:
        self.leave("nobody_to_call", at)

    def after_no_agreement(self, said: dict[str, Any], at: datetime) -> None:
        self.leave("no_agreement", at)

    def after_duplicate(self, said: dict[str, Any], at: datetime) -> None:
        self.stage, self.because, self.tasks = "archived", "duplicate", []

    def after_back_again(self, said: dict[str, Any], at: datetime) -> None:
        """Begun anew at headquarters: what was done, allowed and tried before is of the handling before."""
        self.reachable |= "customer" in said
        self.kind, self.origin = said.get("kind") or self.kind, "direct"
        self.received_at, self.ours_since, self.because = at, None, "completed"
        self.replied, self.reply_due, self.second, self.to_be_tried_again = False, None, False, False
        self.called, self.record_since = None, None
        self.approvals, self.kinds_before, self.put_aside = [], [], {}
        self.tasks = [task for task in self.tasks if task.form != "record"]
        self.handled_again()
        self.begin(at)

    def after_reclassify(self, said: dict[str, Any], at: datetime) -> None:
        """What the customer and others were promised goes on; the position is put aside, with its clocks."""
        asked = [task for task in self.tasks if task.form in ("assist", "agreement") or task.side]
        passing = ("external_reply", "agreed_reply", "assist", "agreement", "reply")
        if self.open("reply"):
            self.reply_due = self.open("reply")[0].due
        if self.kind != "junk":
            self.kinds_before.append(self.kind)
        if self.stage == "nothing_left":
            self.put_aside[self.group] = Position(self.group, [])
        elif self.stage != "junk":
            main = [replace(task) for task in self.tasks if task.form not in passing and not task.side]
            self.put_aside[self.group] = Position(self.stage, main)
        ours = self.origin == "direct" or self.ours_since is not None
        both = ("reply",) if said["kind"] in ("complaint", "query") and ours else ()
        self.drop("external_reply", "agreed_reply", "assist", "agreement", *both)
        self.tasks += [task for task in asked if task not in self.tasks]
        self.kind = said["kind"]
        self.begin(at)


def is_own(said: dict[str, Any]) -> bool:
    """Whether a specialist may promise it by himself."""
    return said["amount"] <= 200 and said["remedy"] in OWN_REMEDIES


@dataclass(frozen=True)
class Person:
    """Somebody who acts: his role; of who sees only what he is asked, the unit he answers for."""

    id: str
    role: str
    unit: str | None = None
    sees_all: bool = True

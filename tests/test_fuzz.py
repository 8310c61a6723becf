"""Random acts on one complaint, in virtual time, against the handbook told a second time (`tests/rules.py`).

Whatever is handed in, by whomever, whenever: the desk says what the handbook says, owes what it owes, nothing is ever
without a clock that somebody hears, nobody hears twice, and whoever answers what is open comes to the archive.
`make fuzz` is the long form.
"""

import os
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlmodel import col, select

from models.tables import DeadlineRow, NoticeRow
from starter.refusals import Invalid, Refused
from tests.office import HOUR, Office, eventually
from tests.rules import FORMS, MAY, Due, Matter, Person

LONG = int(os.environ.get("KEFU_TEST_FUZZ", "0"))
"""How many complaints the long form draws; the short one always draws the same."""

PEOPLE = {
    person.id: person
    for person in (
        Person("lin", "specialist"),
        Person("chen", "specialist"),
        Person("wang", "manager"),
        Person("sun", "director"),
        Person("qian", "supervisor"),
        Person("oa-sh01", "store", unit="SH01"),
        Person("oa-sh02", "store", unit="SH02", sees_all=False),
        Person("shang", "contact", unit="merchandise", sees_all=False),
        Person("admin", "administrator"),
    )
}
ABLE = {"decision": "wang", "sign_off": "wang", "opinion": "qian", "supplement": "oa-sh01", "no_agreement": "wang"}
ABLE |= {"extend": "wang", "reassign": "wang", "solution": "wang"}
"""Who does what at the end, and mostly before."""


@dataclass(frozen=True)
class After:
    """An instant that is said in hours from when it is handed in."""

    hours: float


def said(**fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    """What a form says; a field that may be left out is None."""
    drawn = {name: value if isinstance(value, st.SearchStrategy) else st.just(value) for name, value in fields.items()}
    return st.fixed_dictionaries(drawn).map(
        lambda form: {name: what for name, what in form.items() if what is not None}
    )


LATER = st.sampled_from([0.5, 3, 20, 30, 60, 200]).map(After)
REMEDY = st.sampled_from(["exchange", "refund"])
AMOUNT = st.sampled_from([Decimal(0), Decimal(199), Decimal("200.01"), Decimal(900)])
CONTACT = {"phone": "13800000001"}
DURATION = st.sampled_from([None, "PT4H", "P3D"])

OF_FORM: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "reply": said(content="已致歉"),
    "solution": said(steps="换", effect="好", amount=AMOUNT, remedy=REMEDY, duration=DURATION),
    "consent": st.one_of(
        said(accepted=True),
        said(accepted=False, demand_amount=st.none() | AMOUNT, demand_remedy=st.none() | REMEDY),
    ),
    "execution": said(content="已换"),
    "callback": st.one_of(
        said(outcome=st.sampled_from(["satisfied", "dissatisfied"]), satisfaction=3),
        said(outcome=st.sampled_from(["unreachable", "wrong_number", "refused_contact"])),
    ),
    "record": said(finding="工艺"),
    "agreement": said(reply_at=LATER),
    "agreed_reply": said(content="如约"),
    "decision": said(
        verdict=st.sampled_from(["approve", "reject"]),
        amount_limit=st.sampled_from([None, Decimal(300)]),
        reply_by=st.one_of(st.none(), LATER),
    ),
    "sign_off": said(approved=st.booleans()),
    "assist": said(answer="没有"),
    "external_reply": said(content="已答复"),
    "opinion": said(content="同意"),
    "supplement": st.sampled_from([{"customer": CONTACT}, {"nothing_more_known": True}]),
    "solve": said(
        reply=st.sampled_from([None, "致歉"]), steps="换", effect="好", amount=AMOUNT, remedy=REMEDY, execution="换了"
    ),
    "ask_manager": said(question="可以吗"),
    "out_of_authority": said(reason="三倍"),
    "ask_department": st.sampled_from(
        [
            {"department": "merchandise", "question": "有吗"},
            {"department": "store", "store": "SH02", "question": "有吗"},
        ]
    ),
    "refer": said(body="12315", reference="1", due_at=LATER),
    "attempt": said(channel=st.sampled_from(["phone", "sms"])),
    "reclassify": said(kind=st.sampled_from(["complaint", "suggestion", "query", "junk"]), reason="看错"),
    "withdraw": said(reason="撤"),
    "no_agreement": said(reason="不成", outside_ways_told=True),
    "no_contact": said(reason="匿名"),
    "amend": st.sampled_from([{"customer": CONTACT}, {"content": "更正"}]),
    "duplicate": said(of="another"),
    "back_again": said(
        content="又来了", kind=st.sampled_from([None, "complaint"]), customer=st.sampled_from([None, CONTACT])
    ),
    "extend": said(due_at=LATER, reason="等货"),
    "reassign": said(person="chen", reason="忙"),
}
ENDS = ("withdraw", "no_agreement", "no_contact", "duplicate")
ACTS = [form for form in OF_FORM if form not in FORMS]


@dataclass(frozen=True)
class Step:
    """One thing that somebody does: a form or act, or the nth of what is open, or of a proposal's round; or the time that passes."""

    form: str = ""
    nth: int = 0
    content: dict[str, Any] | None = None
    by: str | None = None
    names_task: bool = True
    hours: int = 0


NOBODY_ELSE: st.SearchStrategy[str | None] = st.none()


def doing(forms: list[str], by: st.SearchStrategy[str | None] = NOBODY_ELSE) -> st.SearchStrategy[Step]:
    def of(form: str) -> st.SearchStrategy[Step]:
        return st.builds(Step, st.just(form), st.integers(0, 5), OF_FORM[form], by, st.booleans())

    return st.sampled_from(forms).flatmap(of)


def answering(what: str) -> st.SearchStrategy[Step]:
    contents = st.fixed_dictionaries({form: OF_FORM[form] for form in FORMS})
    return st.builds(Step, st.just(what), st.integers(0, 5), contents, st.none(), st.just(True))


ANSWERS = answering("open")
ROUND = ("solution", "consent", "decision")
ROUNDS = st.lists(answering("round"), max_size=5)
"""Proposals, refusals and the manager's word on them, for a complaint to begin with: few come so far by chance."""
STEPS = st.one_of(
    ANSWERS,
    ANSWERS,
    ANSWERS,
    doing(["reclassify", "attempt", "out_of_authority", "ask_manager", "extend", "refer", "solve", "ask_department"]),
    doing(ACTS),
    doing(list(OF_FORM), st.sampled_from(list(PEOPLE))),
    st.builds(Step, hours=st.sampled_from([1, 5, 26, 50, 200])),
)
OPENINGS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["complaint", "complaint", "complaint", "query", "suggestion", "praise"]),
        "origin": st.sampled_from(["direct", "direct", "store"]),
        "has_opinion": st.booleans(),
        "help_wanted": st.booleans(),
        "reachable": st.sampled_from([True, True, False]),
        "hours_ago": st.sampled_from([0, 25, 60]),
    }
)


class Trial:
    """One complaint in the office and in the book of rules, side by side."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.heard: set[int] = set()

    async def open(self, facts: dict[str, Any]) -> None:
        received_at = self.office.now() - facts["hours_ago"] * HOUR
        handling = {"reply": "已致歉", "help_wanted": facts["help_wanted"]}
        handling |= {"supervisor_opinion": "同意"} if facts["has_opinion"] else {}
        told = {name: value for name, value in facts.items() if name in ("kind", "origin")}
        self.case = await self.office.open(
            **told,
            received_at=received_at.isoformat(),
            store_handling=handling if facts["origin"] == "store" else None,
            customer=CONTACT if facts["reachable"] else {"name": "路过的人"},
        )
        opened_at = self.office.case(self.case).opened_at
        self.matter = Matter(
            received_at=received_at, **{name: value for name, value in facts.items() if name != "hours_ago"}
        ).begin(opened_at)
        await self.check()

    async def take(self, step: Step) -> None:
        if step.hours:
            await self.office.pass_time(step.hours * HOUR)
            await eventually(self.all_fired, within=60)
            await self.check()
            return
        if step.form in ("open", "round"):
            waiting = [task for task in self.matter.tasks if step.form == "open" or task.form in ROUND]
            if waiting:
                task = waiting[step.nth % len(waiting)]
                assert step.content
                await self.hand_in(task.form, step.content[task.form], able(task), task.key)
            return
        assert step.content is not None
        task = self.task_for(step)
        await self.hand_in(step.form, step.content, step.by or ABLE.get(step.form, "lin"), task)

    def task_for(self, step: Step) -> str | None:
        """Acts on a task name any; forms one of their own, or none."""
        if step.form in ("extend", "reassign"):
            known = [
                *self.matter.tasks,
                Due("reply", "reply", self.office.now()),
                Due("solution-9", "", self.office.now()),
            ]
            return known[step.nth % len(known)].key
        named = step.form in FORMS and step.names_task and self.matter.known.get(step.form)
        return (step.form if step.nth < 2 else f"{step.form}-{step.nth}") if named else None

    async def hand_in(self, form: str, content: dict[str, Any], by: str, task: str | None) -> None:
        now = self.office.now()
        told = {name: now + what.hours * HOUR if isinstance(what, After) else what for name, what in content.items()}
        if form == "duplicate":
            told["of"] = await self.office.open()
        if form in ("extend", "reassign"):
            told["task"] = task
        person = PEOPLE[by]
        expected = self.matter.at_the_door(form, person, task, now)
        if (
            not expected
            and form == "reassign"
            and "specialist" not in MAY.get(str(task).partition("-")[0], {"specialist"})
        ):
            expected = "unfit_person"
        expected = expected or self.matter.verdict(form, as_rules(told), person, task)
        sent = {name: what.isoformat() if isinstance(what, datetime) else what for name, what in told.items()}
        try:
            receipt = await self.office.hand_in(self.case, form, **{**sent, "by": by, "task": task})
        except Invalid as refused:
            outcome = refused.errors[0].code
        except Refused as refused:
            outcome = refused.code
        else:
            outcome = receipt.refusal.code if receipt.refusal else receipt.state
        if outcome == "already_theirs":
            return
        assert outcome == expected, f"{form} by {by}: {outcome}, and the handbook says {expected}"
        if outcome == "decided":
            at = self.office.submission(receipt.submission).recorded_at
            self.matter.take(form, as_rules(told), at, self.matter.meant(form, person, task))
        await self.check()

    # What always holds

    async def check(self) -> None:
        office, case, matter = self.office, self.case, self.matter
        row = office.case(case)
        assert row.state == ("archived" if matter.stage == "archived" else "open")
        tasks = {key: task for key, task in office.tasks(case).items() if task.state == "open" and not task.by_itself}
        assert {key: task.due_at for key, task in tasks.items()} == {task.key: task.due for task in matter.tasks}
        if row.state == "archived":
            assert row.closed_because == matter.because
            return
        assert tasks, "an open case that owes nothing would stay open for ever"
        assert row.cycle == matter.cycle
        clocks = self.clocks()
        for task in tasks.values():
            [*rungs] = [rung for rung in clocks[self.clock(task)] if rung.after_seconds >= 0]
            told = [rung for rung in rungs if rung.fired_at and not rung.passed]
            ahead = [rung for rung in rungs if rung.task == task.key and rung.generation == task.generation]
            assert told or ahead, f"nobody would hear of {task.key}"
        for clock, rungs in clocks.items():
            fired = Counter(rung.after_seconds for rung in rungs if rung.fired_at and not rung.passed)
            assert max(fired.values(), default=0) <= 1, f"{clock}: somebody heard twice"
        heard = self.notices()
        assert heard >= self.heard, "who was told stays told"
        self.heard = heard

    @staticmethod
    def clock(task: Any) -> tuple[Any, ...]:
        """One obligation with one due time, however many tasks it had."""
        because = task.due_because
        return because["promise"], because["anchored_at"], task.due_at

    def clocks(self) -> dict[tuple[Any, ...], list[DeadlineRow]]:
        """The rungs of each clock. A moved task's earlier rungs were planned for the due time before."""
        tasks = self.office.tasks(self.case)
        found: dict[tuple[Any, ...], list[DeadlineRow]] = {}
        for rung in self.office.rows(
            DeadlineRow, self.case, DeadlineRow.task, DeadlineRow.generation, DeadlineRow.rung
        ):
            because = tasks[rung.task].due_because
            changes = because.get("changes", [])
            inherited = len(changes) - tasks[rung.task].generation
            place = inherited + rung.generation
            due = tasks[rung.task].due_at
            if place < len(changes):
                due = datetime.fromisoformat(changes[place]["due_before"])
            found.setdefault((because["promise"], because["anchored_at"], due), []).append(rung)
        return found

    def all_fired(self) -> bool:
        now = self.office.now()
        tasks = self.office.tasks(self.case)
        for rung in self.office.rows(DeadlineRow, self.case, col(DeadlineRow.planned_at)):
            task = tasks[rung.task]
            if (
                task.state == "open"
                and task.generation == rung.generation
                and rung.planned_at < now - timedelta(seconds=5)
            ):
                assert rung.fired_at, f"{rung.task} {rung.rung} is late"
                assert rung.fired_at >= rung.planned_at
        return True

    def notices(self) -> set[int]:
        with self.office.house.database.reading() as session:
            of_case = select(NoticeRow.id).where(
                NoticeRow.case_id == self.case, col(NoticeRow.delivered_at).is_not(None)
            )
            return set(session.exec(of_case))

    # To the end

    GOOD = {
        "solution": {"steps": "换", "effect": "好", "amount": Decimal(0), "remedy": "exchange"},
        "consent": {"accepted": True},
        "callback": {"outcome": "satisfied", "satisfaction": 5},
        "record": {"finding": "好"},
        "agreement": {"reply_at": After(1)},
        "decision": {"verdict": "approve"},
        "sign_off": {"approved": True},
        "assist": {"answer": "没有"},
        "supplement": {"customer": CONTACT},
    }

    async def walk_to_the_archive(self) -> None:
        """Answer whatever is open, again and again: the case ends, and never stands still."""
        for _ in range(30):
            before = [task.key for task in self.matter.tasks]
            for task in list(self.matter.tasks):
                if task in self.matter.tasks:
                    content = self.GOOD.get(task.form, {"content": "好"})
                    await self.hand_in(task.form, content, able(task), task.key)
            if self.matter.stage == "archived":
                return
            assert before != [task.key for task in self.matter.tasks], f"nothing can be answered of {before}"
        raise AssertionError("it never ends")


def able(task: Due) -> str:
    """Who can answer it."""
    asked = {"merchandise": "shang", "SH02": "oa-sh02"}
    return asked[task.unit] if task.unit else ABLE.get(task.form, "lin")


def as_rules(content: dict[str, Any]) -> dict[str, Any]:
    spans = {"PT4H": 4 * HOUR, "P3D": 72 * HOUR, None: None}
    return {**content, "duration": spans[content.get("duration")]}


@pytest.mark.timeout(0 if LONG else 120)
@settings(
    max_examples=LONG or 25,
    derandomize=not LONG,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)
@given(
    facts=OPENINGS,
    rounds=ROUNDS,
    steps=st.lists(STEPS, min_size=1, max_size=25 if LONG else 15),
    back=doing(["back_again"]),
    later=st.lists(STEPS, max_size=15 if LONG else 5),
)
async def test_whatever_is_handed_in_the_case_does_as_the_handbook_has_it(
    office: Office, facts: dict[str, Any], rounds: list[Step], steps: list[Step], back: Step, later: list[Step]
) -> None:
    trial = Trial(office)
    await trial.open(facts)
    for step in (*rounds, *steps):
        await trial.take(step)
    await trial.walk_to_the_archive()
    for step in (back, *later):
        await trial.take(step)
    await trial.walk_to_the_archive()

"""The complaint's states as a picture, found by trying: in every state every step, on the running desk.

A state is what a case waits for: the forms that are owed and possible, apart from those that run beside (reply, opinion, the
manager's and the departments' word). Where it is no longer so, `tests/test_picture.py` prints it anew.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from models.complaint import COMPLAINT
from models.words import say
from tests.office import DAY, Office

BESIDE = ("reply", "opinion", "assist", "agreement", "agreed_reply", "external_reply")
END = "[*]"
HANDED = {"reply": "店长已致歉", "supervisor_opinion": "同意"}
Steps = tuple[tuple[str, str, dict[str, Any]], ...]
"""Who hands in what, one after the other."""


@dataclass(frozen=True)
class Way:
    """What somebody may do, in one word and in what he hands in."""

    word: str
    steps: Steps

    @classmethod
    def of(cls, word: str, form: str, by: str = "lin", **fields: Any) -> "Way":
        return cls(word, ((by, form, fields),))


NO = ("lin", "consent", {"accepted": False})
TRIED = tuple(
    ("lin", "attempt", {"channel": channel, "after": days * DAY})
    for channel, days in (("phone", 0), ("sms", 1), ("im", 0))
)
STEPS = (
    Way.of("solution", "solution", **Office.SOLUTION),
    Way.of("consent: yes", "consent", accepted=True),
    Way("consent: no", (NO,)),
    Way.of("consent: no, demands too much", "consent", accepted=False, demand_amount="900"),
    Way("consent: no, twice", (NO, ("lin", "solution", Office.SOLUTION), NO)),
    Way.of("decision", "decision", by="wang", verdict="approve"),
    Way.of("execution", "execution", content="已寄出"),
    Way.of("callback: satisfied", "callback", outcome="satisfied", satisfaction=5),
    Way.of("callback: dissatisfied", "callback", outcome="dissatisfied", satisfaction=1),
    Way("attempts, callback: unreachable", (*TRIED, ("lin", "callback", {"outcome": "unreachable"}))),
    Way.of("sign off: yes", "sign_off", by="wang", approved=True),
    Way.of("sign off: no", "sign_off", by="wang", approved=False),
    Way.of("reply", "reply", content="已致歉"),
    Way.of("opinion", "opinion", by="qian", content="同意"),
    Way.of("supplement: contact", "supplement", by="oa-sh01", customer={"phone": "13800000001"}),
    Way.of("supplement: nothing more known", "supplement", by="oa-sh01", nothing_more_known=True),
    Way.of("record", "record", finding="工艺不良"),
    Way.of("solve", "solve", steps="换", effect="好", remedy="exchange", execution="换好了"),
    Way.of("withdraw", "withdraw", reason="撤诉"),
    Way.of("no agreement", "no_agreement", by="wang", reason="不成", outside_ways_told=True),
    Way.of("no contact", "no_contact", reason="匿名"),
    Way.of("duplicate", "duplicate", of="another"),
    Way.of("found a query", "reclassify", kind="query", reason="只是询问"),
    Way.of("found a suggestion", "reclassify", kind="suggestion", reason="是建议"),
    Way.of("found junk", "reclassify", kind="junk", reason="广告"),
    Way.of("found a complaint", "reclassify", kind="complaint", reason="是投诉"),
)
TO_RECORD = ("withdraw", "no agreement", "no contact")
EXITS = (*TO_RECORD, "duplicate", "found a query", "found a suggestion", "found junk")
"""Ways that are open wherever the customer's part is not over: drawn once, from the box around all of it. The box is where the
first is open, which is tried in every state; the others are tried where cases open (`tests/test_fuzz.py` tries them all)."""
FROM_THE_BOX = (*EXITS, "found a complaint")
"""Drawn once: the last is open wherever it is taken for something else."""
FORMS = frozenset(form.form for form in COMPLAINT.forms)

NOBODY = {"name": "路过的人"}
DIRECT = {"complaint": {"customer": NOBODY}, "query": {"kind": "query"}, "suggestion, praise": {"kind": "praise"}}
OF_STORE = {
    "store": {"origin": "store", "store_handling": HANDED},
    "store, no way to call": {"origin": "store", "store_handling": HANDED, "customer": NOBODY},
    "store wants help": {"origin": "store", "store_handling": HANDED | {"help_wanted": True}},
}
"""How a case opens. The first customer cannot be reached by anything we know, so that every exit can be tried."""

BACK = Way.of("back again", "back_again", content="又来了")
"""Where a case has ended, but for one that went on in another."""

KINDS = {"store": ("门店：", "store: "), "junk": ("非客诉：", "junk: "), "query": ("咨询：", "query: ")} | {
    "filed": ("意见表扬：", "suggestion: ")
}

Arrow = tuple[str, str, str]
"""From which state, by which word, to which."""


class Explorer:
    """Finds every state of cases that open so, and every way out of each."""

    def __init__(
        self, office: Office, openings: dict[str, dict[str, Any]], ways: Iterable[Way], another: str, stops: str = ""
    ) -> None:
        self.office = office
        self.openings = openings
        self.ways = tuple(ways)
        self.another = another  # the case that a duplicate names
        self.stops = stops
        self.arrows: list[Arrow] = []
        self.found: list[tuple[str, dict[str, Any], tuple[Way, ...]]] = []
        self.ended: dict[str, tuple[dict[str, Any], tuple[Way, ...]]] = {}

    async def explore(self) -> list[Arrow]:
        for word, facts in self.openings.items():
            self.note(END, word, facts, (), await self.come_to(facts, ()))
        for state, facts, path in self.found:  # which grows meanwhile
            await self.leave_by_every_way(state, facts, path)
        for facts, path in self.ended.values():
            case = await self.come_to(facts, path)
            assert await self.go(case, BACK), path
            self.note(END, BACK.word, facts, path, case)
        return self.arrows

    async def leave_by_every_way(self, state: str, facts: dict[str, Any], path: tuple[Way, ...]) -> None:
        case = await self.come_to(facts, path)
        owed = {task.form for task in self.office.tasks(case).values() if task.state == "open"}
        for way in self.ways:
            form = way.steps[-1][1]
            if (form in FORMS and form not in owed) or (path and way.word in EXITS[1:]):
                continue
            if await self.go(case, way) and self.note(state, way.word, facts, (*path, way), case) != state:
                case = await self.come_to(facts, path)

    def note(self, before: str, word: str, facts: dict[str, Any], path: tuple[Way, ...], case: str) -> str:
        after = self.state(case, facts, path)
        if after != before:
            self.arrows.append((before, word, after))
        if after == END and word != "duplicate":
            self.ended.setdefault(before, (facts, path))
        if after not in (END, self.stops, *(state for state, _, _ in self.found)):
            self.found.append((after, facts, path))
        return after

    async def come_to(self, facts: dict[str, Any], path: tuple[Way, ...]) -> str:
        case = await self.office.open(**facts)
        for way in path:
            assert await self.go(case, way), way.word
        return case

    async def go(self, case: str, way: Way) -> bool:
        for by, form, fields in way.steps:
            said = dict(fields)
            if wait := said.pop("after", None):
                await self.office.pass_time(wait)
            if form == "duplicate":
                said["of"] = self.another
            if (await self.office.hand_in(case, form, by=by, **said)).state != "decided":
                return False
        return True

    def state(self, case: str, facts: dict[str, Any], path: tuple[Way, ...]) -> str:
        if self.office.case(case).state == "archived":
            return END
        tasks = self.office.tasks(case)
        owed = [tasks[key] for key in self.office.open_tasks(case)]
        done = [task for task in tasks.values() if task.state == "done"]
        ready = {
            task.form
            for task in owed
            if task.after is None or any(one.form == task.after and one.done_at >= task.owed_at for one in done)
        }
        [form] = ready - set(BESIDE) or ready
        return self.of_kind(facts, path, is_ours="solution" in {task.form for task in tasks.values()}).get(form, form)

    @staticmethod
    def of_kind(facts: dict[str, Any], path: tuple[Way, ...], is_ours: bool) -> dict[str, str]:
        """What a form's state is called where the case is of another kind, or the store's."""
        found = [fields["kind"] for way in path for _, form, fields in way.steps if form == "reclassify"]
        kind = found[-1] if found else facts.get("kind")
        if kind in ("junk", "query"):
            return {"sign_off": "junk", "reply": "query"}
        if kind in ("suggestion", "praise") and not any(way.word in TO_RECORD for way in path):
            return {"record": "filed"}
        return {} if is_ours else {"callback": "store_callback", "sign_off": "store_sign_off"}


def drawn(arrows: list[Arrow]) -> str:
    """The arrows as a Mermaid state diagram. What is possible wherever the customer's part is not over leaves the box."""
    within = dict.fromkeys(before for before, word, _ in arrows if word == "withdraw")
    exits: dict[str, set[str]] = {}
    for _, word, after in arrows:
        if word in FROM_THE_BOX:
            exits.setdefault(word, set()).add(after)
    assert all(len(targets) == 1 for targets in exits.values()), "an exit leads to one state, wherever it is taken"
    lines: dict[tuple[str, str], list[str]] = {}
    for before, word, after in arrows:
        start = "handling" if word in FROM_THE_BOX else before
        words = lines.setdefault((start, after), [])
        words += [word] if word not in words else []
    states = dict.fromkeys(state for before, _, after in arrows for state in (before, after) if state != END)
    box = [f"        {state}" for state in within]
    return "\n".join(
        [
            "stateDiagram-v2",
            *(f'    state "{name_of(state)}" as {state}' for state in states),
            '    state "受理中 · in hand" as handling {',
            *box,
            "    }",
            *(f"    {before} --> {after}: {' / '.join(words)}" for (before, after), words in lines.items()),
        ]
    )


def name_of(state: str) -> str:
    """What the case waits for, in both languages."""
    of_kind, _, form = state.partition("_")
    kinds = KINDS.get(of_kind, ("", ""))
    form = {"junk": "sign_off", "query": "reply", "filed": "record"}.get(state, form if kinds[0] else state)
    return f"{kinds[0]}{say('form', form)} · {kinds[1]}{say('form', form, 'en')}"


async def pictures(office: Office) -> list[str]:
    """The direct complaint, and what a store has answered itself."""
    another = await office.open()
    theirs = [way for way in STEPS if not way.word.startswith("found ")]
    return [
        drawn(await Explorer(office, DIRECT, STEPS, another).explore()),
        drawn(await Explorer(office, OF_STORE, theirs, another, stops="solution").explore()),
    ]

"""What is going to happen, drawn from a seed before anything does: complaints and their lives, and who is killed when, after what."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

STORES = {
    "SH01": ("oa-sh01", "lin"),
    "SH02": ("oa-sh02", "lin"),
    "HZ01": ("oa-hz01", "lin"),
    "GZ01": ("oa-gz01", "chen"),
    "SZ01": ("oa-sz01", "chen"),
    "BJ01": ("oa-bj01", "zhao"),
}
"""The sample's stores: whose OA sends, and whose the region is."""
MANAGER = "wang"
COLLEAGUES = ("lin", "chen", "zhao")

AGO = (0.0, 0.0, 0.0, 1.5, 3.5, 5.0, 8.0)
"""Seconds before it is typed that a complaint was received."""
FOURFOLD = 0.1
QUIET = 0.12
"""The part of the run, at its begin, in which nothing dies; half as much at its end."""
MOST_DEATHS, WITHIN = 3, 60.0
"""The supervisor gives up after five deaths of one part in a minute."""

AFTER = (("api", "submission"), ("worker", "record"), ("worker", "rung"))
PLAIN = {"server": 4, "worker": 3, "relay": 2, "api": 3}
"""How often a part is killed out of the blue, beside the others; a part of another name once."""


@dataclass(frozen=True)
class Step:
    """What a person sends, so many seconds after his step before. A body of `due_in` seconds is due so long after it is sent."""

    wait: float
    by: str
    form: str
    body: dict[str, Any]
    copies: int = 1


@dataclass(frozen=True)
class Life:
    """A complaint: when it comes, and what several people then do about it, side by side."""

    kind: str
    number: str
    store: str
    at: float
    ago: float
    copies: int
    strands: tuple[tuple[Step, ...], ...]

    @property
    def by(self) -> str:
        return STORES[self.store][0]


@dataclass(frozen=True)
class Death:
    """Somebody is killed: at once, or after his COUNTth commit that holds a certain thing."""

    at: float
    part: str
    after: str | None = None
    count: int = 0


@dataclass(frozen=True)
class Plan:
    seed: int
    rate: float
    lives: tuple[Life, ...]
    deaths: tuple[Death, ...]
    locked_at: float
    locked_for: float = 10.0
    span: float = field(default=0.0)


def drawn(seed: int, cases: int, kills: int, rate: float, parts: Sequence[str]) -> Plan:
    span = cases / rate
    chance = random.Random(f"{seed}/lives")
    lives = tuple(a_life(chance, f"F{seed}-{n:05d}", (n + chance.random()) / rate) for n in range(cases))
    chance = random.Random(f"{seed}/deaths")
    deaths = tuple(the_deaths(chance, kills, span, parts))
    return Plan(seed, rate, lives, deaths, locked_at=span * chance.uniform(0.45, 0.55), span=span)


# Deaths


def the_deaths(chance: random.Random, kills: int, span: float, parts: Sequence[str]) -> Iterable[Death]:
    """As many as asked for, evenly apart but for chance, so that no part dies too often for its supervisor. The engine, which
    is not ours and has no failpoint, dies once at least; then come the failpoints, one of each before any of another."""
    on_purpose = max(min(kills - 1, len(AFTER)), kills // 3)
    weights = [PLAIN.get(part, 1) for part in parts]
    first, last = span * QUIET, span * (1 - QUIET / 2)
    apart = (last - first) / max(kills, 1)
    for _ in range(10_000):
        how: list[tuple[str, str | None]] = list(islice(cycle(AFTER), on_purpose))
        how += [("server", None)] if kills else []
        how += [(part, None) for part in chance.choices(parts, weights, k=kills - len(how))]
        chance.shuffle(how)
        at = [first + apart * (n + chance.uniform(0.1, 0.9)) for n in range(kills)]
        deaths = [Death(t, part, after, chance.randint(1, 12)) for t, (part, after) in zip(at, how, strict=True)]
        if all(bearable([death.at for death in deaths if death.part == part]) for part in parts):
            return deaths
    raise ValueError(f"{kills} deaths in {span:.0f} s are more than the supervisor bears: fewer, or more cases")


def bearable(times: list[float]) -> bool:
    return all(later - earlier > WITHIN for earlier, later in zip(times, times[MOST_DEATHS:], strict=False))


# Lives


def a_life(chance: random.Random, number: str, at: float) -> Life:
    store = chance.choice(list(STORES))
    people = People(chance, STORES[store][1])
    kind = chance.choices(list(LIVES), [weight for weight, _ in LIVES.values()])[0]
    strands = LIVES[kind][1](people)
    return Life(kind, number, store, at, chance.choice(AGO), people.copies(), tuple(map(tuple, strands)))


class People:
    """Those who work on one complaint."""

    def __init__(self, chance: random.Random, specialist: str) -> None:
        self.chance = chance
        self.specialist = specialist

    def copies(self) -> int:
        return 4 if self.chance.random() < FOURFOLD else 1

    def within(self, least: float, most: float) -> float:
        return self.chance.uniform(least, most)

    def sends(self, wait: tuple[float, float], form: str, by: str | None = None, **body: Any) -> Step:
        return Step(self.within(*wait), by or self.specialist, form, body, self.copies())

    # Forms

    def reply(self, wait: tuple[float, float]) -> Step:
        return self.sends(wait, "reply", content="已致电致歉")

    def solution(self, wait: tuple[float, float]) -> Step:
        promised = self.chance.choice([{}, {}, {"duration": "PT2S"}, {"duration": "PT5S"}])
        return self.sends(wait, "solution", steps="换新", effect="不再跑绒", remedy="exchange", **promised)

    def consent(self, wait: tuple[float, float], accepted: bool = True) -> Step:
        return self.sends(wait, "consent", accepted=accepted)

    def execution(self, wait: tuple[float, float]) -> Step:
        return self.sends(wait, "execution", content="已寄出")

    def callback(self, wait: tuple[float, float]) -> Step:
        return self.sends(wait, "callback", outcome="satisfied", satisfaction=5)

    def record(self, wait: tuple[float, float]) -> Step:
        return self.sends(wait, "record", finding="充绒工艺不良")

    def solve(self, wait: tuple[float, float], **reply: str) -> Step:
        return self.sends(wait, "solve", steps="换新", effect="满意", remedy="exchange", execution="已换", **reply)

    def extend(self, wait: tuple[float, float], task: str, by_seconds: tuple[float, float]) -> Step:
        due_in = round(self.within(*by_seconds), 3)
        return self.sends(wait, "extend", by=MANAGER, task=task, due_in=due_in, reason="已与顾客约定")

    def reassign(self, wait: tuple[float, float], task: str) -> Step:
        person = self.chance.choice(COLLEAGUES)
        return self.sends(wait, "reassign", by=MANAGER, task=task, person=person, reason="休假")

    def to_the_end(self, wait: tuple[float, float]) -> list[Step]:
        return [self.consent(wait), self.execution(wait), self.callback(wait), self.record(wait)]


Strands = list[list[Step]]
SOON, LATER = (0.2, 1.6), (2.0, 6.0)


def on_time(p: People) -> Strands:
    return [[p.reply((0.2, 2.5))], [p.solution((0.5, 3.5)), *p.to_the_end(SOON)]]


def late_reply(p: People) -> Strands:
    return [[p.reply((3.0, 14.0))], [p.solution(SOON), *p.to_the_end(SOON)]]


def late_everywhere(p: People) -> Strands:
    return [[p.reply(LATER)], [p.solution((5.0, 10.0)), *p.to_the_end(LATER)]]


def silent(p: People) -> Strands:
    return [[]]


def silent_after_the_reply(p: People) -> Strands:
    return [[p.reply(SOON)]]


def refused_once(p: People) -> Strands:
    refused = [p.solution(SOON), p.consent(SOON, accepted=False), p.solution((0.5, 5.0))]
    return [[p.reply(SOON)], [*refused, *p.to_the_end(SOON)]]


def on_the_line(p: People) -> Strands:
    if p.chance.random() < 0.7:
        return [[p.solve((0.3, 5.0), reply="当场致歉"), p.callback(SOON), p.record(SOON)]]
    return [[p.reply(SOON)], [p.solve((2.0, 5.0)), p.callback(SOON), p.record(SOON)]]


def extended(p: People) -> Strands:
    task = p.chance.choice(["reply", "solution", "callback"])
    moves = [p.extend((0.2, 5.0), task, (0.3, 9.0)), p.extend((0.5, 5.0), task, (3.0, 12.0))]
    return [moves, [p.reply((1.0, 9.0))], [p.solution((1.0, 9.0)), *p.to_the_end(SOON)]]


def reassigned(p: People) -> Strands:
    task = p.chance.choice(["reply", "solution", "callback"])
    hand_over = [p.reassign((0.2, 6.0), task), p.reassign(LATER, task)]
    return [hand_over, [p.reply((1.0, 7.0))], [p.solution((1.0, 7.0)), *p.to_the_end(SOON)]]


def out_of_order(p: People) -> Strands:
    """Forms before their time, and twice: the desk refuses them and goes on."""
    early = [p.record(SOON), p.callback(SOON), p.consent(SOON), p.solution(SOON), p.execution(SOON)]
    return [[p.reply(SOON), p.reply(SOON)], [*early, *p.to_the_end(SOON), p.record(SOON)]]


LIVES: dict[str, tuple[int, Callable[[People], Strands]]] = {
    "on time": (30, on_time),
    "late reply": (12, late_reply),
    "late everywhere": (10, late_everywhere),
    "silent": (6, silent),
    "silent after the reply": (4, silent_after_the_reply),
    "refused once": (10, refused_once),
    "on the line": (10, on_the_line),
    "extended": (8, extended),
    "reassigned": (5, reassigned),
    "out of order": (5, out_of_order),
}

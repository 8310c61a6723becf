"""The three scenes: the storm of deaths, the backlog after an outage, and the crowd at the door."""

import asyncio
import json
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from time import monotonic
from typing import Any

from tests.fire import reference
from tests.fire.engine import Engine
from tests.fire.plan import AGO, STORES, Death, Life, Plan, Step, drawn
from tests.fire.senders import Journal, Sender
from tests.fire.site import Site, as_stored, until

POLICY, BACKLOG = (Path(__file__).with_name(name) for name in ("policy.toml", "backlog.toml"))
DRAINED_WITHIN = 180.0
DOOM_WITHIN, PROVOKED_WITHIN = 20.0, 60.0
ALL_RUNGS = timedelta(hours=1)
"""The storm's ladders end within a minute: whatever is planned comes before this."""


@dataclass
class Report:
    """What a scene left behind: the files to judge, and what was found."""

    site: Site
    ledger: Path
    directory: Path
    journal: Path
    until: datetime
    verdict: reference.Verdict
    drained: bool = True
    seconds: dict[str, float] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    replayed: int = 0
    nondeterministic: list[str] = field(default_factory=list)
    workflow_tasks: dict[str, int] = field(default_factory=dict)
    integrity: dict[str, str] = field(default_factory=dict)
    doctor: str = "did not come"
    seen: dict[str, datetime] = field(default_factory=dict)
    """When each notice could first be read, by its key."""

    @property
    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.journal.read_text().splitlines()]

    def judged_again(self, ledger: Path) -> reference.Verdict:
        return reference.judge(ledger, self.site.policy, self.directory, self.journal, self.until)


# The storm


async def storm(base: Path, seed: int, cases: int, kills: int, rate: float, sample: int) -> tuple[Report, Plan]:
    """Lives and deaths of one seed, until nothing is left to happen; then everything is compared."""
    site = Site(base, POLICY)
    plan = drawn(seed, cases, kills, rate, site.parts)
    async with site, site.door() as http, written(site) as journal, watched(site) as seen:
        begin, sender = monotonic(), Sender(http, journal)
        ruin = asyncio.create_task(ruined(site, plan, journal, sender, begin))
        await asyncio.gather(ruin, *(sender.live(life, begin) for life in plan.lives))
        lived = monotonic() - begin
        drained = await site.drained(DRAINED_WITHIN, ALL_RUNGS)
        report = await compared(site, journal, seed, sample)
    report.seen, report.drained = seen, drained
    report.seconds |= {"lived": lived, "drained": monotonic() - begin - lived}
    report.integrity = integrity(site)
    return report, plan


async def compared(site: Site, journal: Journal, seed: int, sample: int) -> Report:
    at_rest = datetime.now(UTC)
    ledger = site.copy_ledger(site.base.with_suffix(".db"))
    directory = site.data / "directory.toml"
    verdict = reference.judge(ledger, site.policy, directory, journal.file, at_rest)
    report = Report(site, ledger, directory, journal.file, at_rest, verdict)
    engine = await Engine.of(site)
    report.differences = await engine.differences()
    report.replayed, report.nondeterministic, troubles = await engine.replay(seed, sample)
    report.workflow_tasks = dict(troubles)
    report.doctor = await asyncio.to_thread(doctor, site)
    return report


@asynccontextmanager
async def written(site: Site) -> AsyncIterator[Journal]:
    """The senders' journal, beside the house."""
    with Journal(site.base.with_suffix(".journal")) as journal:
        yield journal


@asynccontextmanager
async def watched(site: Site) -> AsyncIterator[dict[str, datetime]]:
    """Look for new notices all the time: a ledger says when something fired, and not when that could be read."""
    seen: dict[str, datetime] = {}

    async def look() -> None:
        last = 0
        while True:
            for nth, key in await asyncio.to_thread(site.ask, "select id, key from notices where id > ?", last):
                seen.setdefault(key, datetime.now(UTC))
                last = max(last, nth)
            await asyncio.sleep(0.05)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def ruined(site: Site, plan: Plan, journal: Journal, sender: Sender, begin: float) -> None:
    """Everything the plan does to the house."""

    async def dies(nth: int, death: Death) -> None:
        await asyncio.sleep(max(0.0, begin + death.at - monotonic()))
        met = await died(site, death, sender, f"F{plan.seed}-D{nth:04d}")
        journal.note("fault", part=death.part, after=death.after, met=met)

    dying = (dies(nth, death) for nth, death in enumerate(plan.deaths))
    await asyncio.gather(locked(site, plan, journal, begin), *dying)


async def died(site: Site, death: Death, sender: Sender, number: str, within: float = DOOM_WITHIN) -> bool:
    """Whether it came to it. A commit that does not come by itself is brought about, by a complaint that is late already:
    what is sent, recorded and fired of it is one of each."""
    if not death.after:
        await site.kill(death.part)
        return True
    await site.doom(death.part, death.after, death.count)
    if await site.struck(death.part, death.after, within):
        return True
    await site.doom(death.part, death.after, 1)
    await sender.live(Life("provoking", number, "SH01", at=0, ago=max(AGO), copies=1, strands=()), monotonic())
    return await site.struck(death.part, death.after, PROVOKED_WITHIN)


async def locked(site: Site, plan: Plan, journal: Journal, begin: float) -> None:
    """Somebody else writes into the ledger, and takes his time."""
    await asyncio.sleep(max(0.0, begin + plan.locked_at - monotonic()))
    connection = sqlite3.connect(site.ledger, timeout=30, isolation_level=None, check_same_thread=False)
    with closing(connection):
        await asyncio.to_thread(connection.execute, "begin immediate")
        since = datetime.now(UTC)
        await asyncio.sleep(plan.locked_for)
        await asyncio.to_thread(connection.execute, "rollback")
    journal.note("fault", part="lock", since=since.isoformat(), met=True)


def integrity(site: Site) -> dict[str, str]:
    """What SQLite says of both files, once nobody has them open."""
    said = {}
    for file in (site.ledger, site.data / "temporal.db"):
        with closing(sqlite3.connect(file)) as connection:
            said[file.name] = connection.execute("pragma integrity_check").fetchone()[0]
    return said


def doctor(site: Site) -> str:
    """What `kefu doctor` says: "clean", or its exceptions."""
    said = site.run("starter", "doctor", "--json")
    return "clean" if said.returncode == 0 else (said.stdout + said.stderr)[-2000:]


# The backlog


@dataclass
class Backlog:
    due: int
    outage: float
    fired_within: float | None
    """Seconds from the end of the outage until the last of them had fired; None where some never did."""
    half_within: float | None
    verdict: reference.Verdict
    differences: list[str]


async def backlog(base: Path, seed: int, rungs: int, outage: float, openings: float) -> Backlog:
    """So many rungs of as many cases fall due while engine and worker are down. `openings` a second lay the scene."""
    site = Site(base, BACKLOG)
    chance = random.Random(f"{seed}/backlog")
    async with site, site.door() as http, written(site) as journal:
        sender = Sender(http, journal)
        strikes_in = ceil(rungs / openings) + 10
        strikes_at = datetime.now(UTC) + timedelta(seconds=strikes_in)
        ends, due_after = monotonic() + strikes_in, timedelta(minutes=10)
        dues = sorted(chance.uniform(0.5, outage - 0.5) for _ in range(rungs))

        async def opened(lane: int) -> None:
            for nth in range(lane, rungs, LANES):
                store = chance.choice(list(STORES))
                received = strikes_at + timedelta(seconds=dues[nth]) - due_after
                await sender.open(f"B{seed}-{nth:05d}", store, STORES[store][0], received)

        await asyncio.gather(*map(opened, range(LANES)))
        assert await site.drained(60), "the scene could not be laid"
        assert monotonic() < ends, f"the scene was not laid in {strikes_in} s: this machine opens fewer a second"
        await asyncio.sleep(ends - monotonic())
        with site.shut("server", "worker"):
            await site.kill("worker")
            await site.kill("server")
            await asyncio.sleep(outage)
            recovered = datetime.now(UTC)
        planned = (as_stored(strikes_at), as_stored(recovered))
        missing = "select count(*) from deadlines where planned_at between ? and ? and fired_at is null"
        complete = await until(lambda: site.ask(missing, *planned)[0][0] == 0, within=180)
        fired = "select fired_at from deadlines where planned_at between ? and ? and fired_at is not null"
        late = sorted((reference.at(at) - recovered).total_seconds() for (at,) in site.ask(fired, *planned))
        copy, directory = site.copy_ledger(base.with_suffix(".db")), site.data / "directory.toml"
        verdict = reference.judge(copy, site.policy, directory, journal.file, datetime.now(UTC))
        differences = await (await Engine.of(site)).differences()
    return Backlog(
        len(late), outage, late[-1] if complete else None, late[len(late) // 2] if late else None, verdict, differences
    )


LANES = 6


# The crowd at the door


@dataclass
class Crowd:
    numbers: int
    copies: int
    times: int
    wrong: list[str] = field(default_factory=list)


async def crowd(base: Path, seed: int, numbers: int, copies: int, *, forgetting: bool = True) -> Crowd:
    """The same numbers from many at once: at first, after the case has closed, and after the engine has forgotten it.

    The engine takes up to a minute to forget.
    """
    site, seen = Site(base, POLICY), Crowd(numbers, copies, times=3 if forgetting else 2)
    received = datetime.now(UTC)
    async with site, site.door() as http, written(site) as journal:
        sender, engine = Sender(http, journal), await Engine.of(site)

        async def come(number: str, when: str, runs: int) -> str:
            told = await sender.open(number, "SH01", "oa-sh01", received, copies)
            rows: list[str] = [row[0] for row in site.ask("select id from cases where number = ?", number)]
            opened = site.ask("select count(*) from submissions where case_id = ? and form = 'open'", rows[0])[0][0]
            ran = await engine.runs(rows[0], runs)
            if not (len(rows) == len(told) == opened == 1 and ran == runs):
                seen.wrong.append(f"{number} {when}: {told}, rows {rows}, openings {opened}, runs {ran}")
            return rows[0]

        cases = {number: await come(number, "at first", 1) for number in (f"D{seed}-{n:03d}" for n in range(numbers))}
        for number, case in cases.items():
            for nth, step in enumerate(TO_THE_END):
                await sender.hand_in(case, number, f"{number}.{nth}", step)
        assert await until(lambda: site.ask(STILL_OPEN)[0][0] == 0, within=60), "the cases do not close"
        for number, case in cases.items():
            await come(number, "after it closed", 1)
            if forgetting:
                await engine.forget(case)
        for number, case in cases.items() if forgetting else ():
            await engine.has_forgotten(case)
            await come(number, "after the engine forgot it", 0)
            if (status := await engine.status(case)) != "UNKNOWN":
                seen.wrong.append(f"{number} was started again: {status}")
    return seen


STILL_OPEN = "select count(*) from cases where state = 'open'"
TO_THE_END = (
    Step(
        0, "lin", "solve", {"reply": "致歉", "steps": "换", "effect": "好", "remedy": "exchange", "execution": "已换"}
    ),
    Step(0, "lin", "callback", {"outcome": "satisfied", "satisfaction": 5}),
    Step(0, "lin", "record", {"finding": "工艺不良"}),
)

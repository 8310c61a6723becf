"""Complaints of a chain (case,received_at,first_step_at,last_step_at,text), as they would come on the first day: `make complaints DATA=complaints.csv`.

First as live cases of the last three days, while some are answered to the archive and worker, engine and API are killed (-9)
meanwhile; then at their own times, as history. Each time on a fresh house under the policy as shipped; each time `kefu doctor`
must be content, and of the live ones the fire's reference, which knows nothing of our code, too. Prints what it took.
"""

import argparse
import asyncio
import csv
import sys
import tempfile
import tomllib
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

from models.policy import SHIPPED
from tests.fire import reference
from tests.fire.plan import STORES, Step
from tests.fire.senders import Journal, Sender
from tests.fire.site import Site, as_stored, until

DAYS = timedelta(days=3)
ANSWERED = 11
"""Every so many complaints, one is answered to the archive."""
HANDS = 4
KILLS = (("worker", 0.15), ("server", 0.35), ("worker", 0.55), ("api", 0.75))
"""What is killed, and after which part of the openings."""
WITHIN = 1800.0
SHOP = list(STORES)
COUNT = "select count(*) from {}"
OPENED = "submissions where form = 'open' and state = 'decided'"
NUMBERED = "cases where number = ?"
OVERTAKEN = "events where kind = 'passed'"
TOLD = "notices n join cases c on c.id = n.case_id where c.process = 'complaint'"
STEPS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("reply", {"content": "已致歉"}),
    ("solution", {"steps": "换货", "effect": "满意", "remedy": "exchange"}),
    ("consent", {"accepted": True}),
    ("execution", {"content": "已换货"}),
    ("callback", {"outcome": "satisfied", "satisfaction": 4}),
    ("record", {"finding": "尺码与颜色不符"}),
)

Complaint = dict[str, str]


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def read(file: Path, first: int | None) -> list[Complaint]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        return list(islice(csv.DictReader(lines), first))


def facts(nth: int, complaint: Complaint) -> dict[str, str]:
    return {
        "form_no": f"R-{complaint['case']}",
        "kind": "complaint",
        "channel": "marketplace",
        "store": SHOP[nth % len(SHOP)],
        "content": complaint["text"],
        "customer.name": "网购顾客",
        "customer.phone": f"1380{nth:07d}",
    }


def live(complaints: list[Complaint]) -> list[dict[str, str]]:
    """Received in the last three days, in the order of the file."""
    now = datetime.now(UTC).replace(microsecond=0)
    apart = DAYS / len(complaints)
    return [
        facts(nth, complaint) | {"received_at": (now - DAYS + nth * apart).isoformat()}
        for nth, complaint in enumerate(complaints)
    ]


def past(complaints: list[Complaint]) -> list[dict[str, str]]:
    return [
        facts(nth, complaint)
        | {
            "received_at": complaint["received_at"],
            "replied_at": complaint["first_step_at"],
            "closed_at": complaint["last_step_at"] or complaint["received_at"],
        }
        for nth, complaint in enumerate(complaints)
    ]


def write(file: Path, rows: list[dict[str, str]]) -> Path:
    with file.open("w", encoding="utf-8", newline="") as out:
        table = csv.DictWriter(out, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return file


def count(site: Site, table: str, *values: object) -> int:
    return int(site.ask(COUNT.format(table), *values)[0][0])


async def imported(site: Site, file: Path, *more: str) -> float:
    begin = monotonic()
    said = await asyncio.to_thread(site.run, "starter", "import", "complaint", str(file), "--as", "wang", *more)
    if said.returncode:
        raise SystemExit(said.stdout[-2000:] + said.stderr[-2000:])
    return monotonic() - begin


async def killed(site: Site, complaints: int) -> None:
    for part, share in KILLS:
        assert await until(lambda wanted=share * complaints: count(site, OPENED) >= wanted, WITHIN)  # type: ignore[misc]
        await site.kill(part)
        say(f"  killed: {part}")


async def answered(site: Site, sender: Sender, rows: list[dict[str, str]]) -> None:
    for row in rows:
        number = row["form_no"]
        assert await until(lambda number=number: count(site, NUMBERED, number) == 1, WITHIN)  # type: ignore[misc]
        [(case,)] = site.ask("select id from cases where number = ?", number)
        for nth, (form, body) in enumerate(STEPS):
            await sender.hand_in(case, number, f"{number}.{nth}", Step(0, "wang", form, body))


def content(site: Site) -> bool:
    said = site.run("starter", "doctor", "--json")
    say(f"  doctor: {'clean' if said.returncode == 0 else said.stdout[-3000:] + said.stderr[-1000:]}")
    return said.returncode == 0


FIRED = """
    select c.number, d.task from deadlines d join cases c on c.id = d.case_id
    where c.process = 'complaint' and d.task in ('reply', 'solution') and d.after_seconds >= 0 and d.fired_at is not null and d.planned_at < ?
"""
ANSWERS = """
    select c.number, s.form, s.recorded_at from submissions s join cases c on c.id = s.case_id
    where s.state = 'decided' and s.form in ('reply', 'solution')
"""


def demanded(site: Site, rows: list[dict[str, str]], at_rest: datetime) -> Counter[tuple[str, str]]:
    """Reckoned apart, from receipts, answers and the policy: whose first breach the manager must have heard of. Whatever is
    due further up keeps its distance from that, and lies ahead."""
    told = tomllib.loads(SHIPPED.read_text())["complaint"]["promises"]
    within = {name: reference.Promise.of(name, told[name]).within for name in ("reply", "solution")}
    answered_at = {(number, form): reference.at(at) for number, form, at in site.ask(ANSWERS)}
    return Counter(
        (row["form_no"], task)
        for row in rows
        for task, span in within.items()
        if datetime.fromisoformat(row["received_at"]) + span < answered_at.get((row["form_no"], task), at_rest)
    )


async def as_live(base: Path, complaints: list[Complaint]) -> bool:
    site, rows = Site(base / "live", SHIPPED), live(complaints)
    file, begin = write(base / "live.csv", rows), monotonic()
    async with site, site.door() as http:
        with Journal(base / "live.journal") as journal:
            sender, some = Sender(http, journal), rows[::ANSWERED]
            hands = (answered(site, sender, some[nth::HANDS]) for nth in range(HANDS))
            seconds, *_ = await asyncio.gather(imported(site, file), killed(site, len(rows)), *hands)
        at_rest = datetime.now(UTC)
        drained = await site.drained(WITHIN)
        say(f"  imported in {seconds:.0f} s, at rest after {monotonic() - begin:.0f} s")
        fired, archived = Counter(site.ask(FIRED, as_stored(at_rest))), "cases where state = 'archived'"
        must = demanded(site, rows, at_rest)
        say(f"  {count(site, 'submissions')} submissions decided, {count(site, archived)} archived")
        say(
            f"  {len(must)} breaches must be told of, {sum(fired.values())} were; one too many or too few: {len(must - fired) + len(fired - must)}"
        )
        say(f"  reminders overtaken: {count(site, OVERTAKEN)}")
        return content(site) and drained and fired == must


async def as_history(base: Path, complaints: list[Complaint]) -> bool:
    site, begin = Site(base / "history", SHIPPED), monotonic()
    file = write(base / "history.csv", past(complaints))
    async with site:
        seconds = await imported(site, file, "--history")
        archived = "cases where state = 'archived'"
        closed = await until(lambda: count(site, archived) == len(complaints), WITHIN)
        say(f"  imported in {seconds:.0f} s, all archived after {monotonic() - begin:.0f} s")
        told = count(site, TOLD)
        say(f"  {count(site, archived)} cases, {count(site, 'deadlines')} rungs, {told} notices")
        return content(site) and closed and not told


async def run(file: Path, first: int | None) -> int:
    complaints, failed = read(file, first), 0
    with tempfile.TemporaryDirectory(prefix="kefu-") as base:
        for name, way in (("live", as_live), ("history", as_history)):
            say(f"{name}: {len(complaints)} complaints")
            failed += not await way(Path(base), complaints)
    return failed


if __name__ == "__main__":
    asked = argparse.ArgumentParser()
    asked.add_argument("file", type=Path)
    asked.add_argument("--first", type=int, help="only so many")
    wanted = asked.parse_args()
    sys.exit(asyncio.run(run(wanted.file, wanted.first)))

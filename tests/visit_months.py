"""Months of visits in virtual time, with stores that are late, silent, hand in again, open and close; and three days in which nothing runs.

Short in the test suite; long by `make visits`: python -m tests.visit_months --months 24 --stores 40 --lines 30. `--outage 1` has
nobody at work at the end of the second month; -1 leaves that out.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic, process_time
from typing import Any

import structlog
from pydantic import SecretStr
from sqlmodel import select
from temporalio.testing import WorkflowEnvironment

from activities import schema
from activities.payloads import data_converter
from models.people import Store
from models.tables import CaseRow, DeadlineRow, EventRow, NoticeRow, SubmissionRow, TaskRow, VisitRow
from models.visits.months import counting_day, last_day, shifted
from settings import House, Settings
from tests.conftest import KEYS, test_server
from tests.office import HOUR, Office
from tests.visiting import TAKEN, Visiting, at, at_work, day, line, next_month_like

OUTAGE = timedelta(days=3)
KINDS = ("punctual", "late", "silent", "again", "amends")
"""How a store is in a month: it goes round, so that each is everything."""

LADDERS = {
    "plan": (-48, 0, 4),
    "calls": (0, 24),
    "visits": (),
    "consolidation": (-24, 0, 24),
    "report": (-72, 0, 24),
}
"""Hours from the due time at which somebody hears, as the handbook's table of promises has it."""


@dataclass
class Run:
    """So many months of so many stores with so many lines each; then what must have happened."""

    office: Office
    first: str
    months: int
    stores: int
    lines: int
    outage_in: int = 1
    """In which of the months nobody is at work from the 28th on."""
    visiting: Visiting = field(init=False)
    chain: list[Store] = field(init=False)
    plans: int = 0
    consolidated: int = 0

    def __post_init__(self) -> None:
        self.visiting = Visiting(self.office)
        self.visiting.days = frozenset({20, 27})
        self.visiting.stride = timedelta(days=60) / max(1, self.stores * self.lines // 25)
        self.chain = list(self.office.house.people.stores)

    def kind(self, nth: int, month: int) -> str:
        return KINDS[(nth + month) % len(KINDS)]

    def active(self, month: str) -> list[Store]:
        return [store for store in self.chain if store.active_on(counting_day(shifted(month, -1), 28))]

    async def go(self) -> None:
        await self.visiting.begin(at(day(shifted(self.first, -1), 20)))
        actions: list[tuple[datetime, int, Callable[[], Awaitable[None]]]] = []
        for m in range(self.months):
            for instant, act in self.acts(shifted(self.first, m), m):
                actions.append((instant, len(actions), act))
        begun = monotonic()
        for nth, (instant, _, act) in enumerate(sorted(actions, key=lambda one: one[:2]), start=1):
            await self.visiting.until(instant)
            await act()
            if nth % 100 == 0:
                sys.stderr.write(f"{nth} of {len(actions)} acts, {instant:%Y-%m-%d}, {monotonic() - begun:.0f} s\n")

    def acts(self, month: str, m: int) -> list[tuple[datetime, Callable[[], Awaitable[None]]]]:
        before, cut = shifted(month, -1), last_day(shifted(month, -1))
        found: list[tuple[datetime, Callable[[], Awaitable[None]]]] = []
        outage = m == self.outage_in
        consolidation = at(counting_day(before, 30), "20:00")
        if outage:
            found.append((at(day(before, 28), "10:00"), self.nobody_is_at_work))
            consolidation = max(consolidation, at(day(before, 28), "10:00") + OUTAGE + HOUR)
            found.append((at(day(before, 28), "10:00") + OUTAGE, self.everybody_is_back))
        for nth, store in enumerate(self.active(month)):
            kind = self.kind(nth, m)
            if kind in ("punctual", "again", "amends"):
                found.append((at(day(before, 25), "10:00"), self.handing_in(month, store, nth, 0)))
            if kind == "again":
                found.append((at(day(before, 27), "10:00"), self.handing_in(month, store, nth, 1)))
            if kind == "late":
                found.append((consolidation + 2 * HOUR, self.handing_in(month, store, nth, 0)))
            if kind == "amends":
                found.append((consolidation + 3 * HOUR, self.handing_in(month, store, nth, 1)))
            for nights, (when, half) in enumerate(
                [(at(day(month, 16), "12:00"), True), (at(last_day(month), "12:00"), False)]
            ):
                found.append((when + timedelta(minutes=nights), self.calling(month, store, half)))
        found.append((consolidation, self.consolidating(month)))
        found.append((at(day(shifted(month, 1), 5), "10:00"), self.reporting(month)))
        assert cut
        return found

    async def nobody_is_at_work(self) -> None:
        """The engine loses what it ran: virtual time does not pass over a run that nobody carries on."""
        for case in self.open_cases():
            await self.office.client.get_workflow_handle(case).terminate()
        await self.office.worker_leaves()

    async def everybody_is_back(self) -> None:
        """Every open case is started anew from the ledger, as the watch does."""
        await self.office.worker_comes()
        for case in self.open_cases():
            await self.office.front.reconciler.rebuild(case)
        await self.visiting.delivered()

    def open_cases(self) -> list[str]:
        with self.office.house.database.reading() as session:
            return list(session.exec(select(CaseRow.id).where(CaseRow.state == "open")))

    def handing_in(self, month: str, store: Store, nth: int, version: int) -> Callable[[], Awaitable[None]]:
        async def act() -> None:
            lines = [
                line(day(month, 5 + (n * 3 + version) % 23), 1000 * nth + n, caller=f"clerk-{n % 2}")
                for n in range(self.lines)
            ]
            answer = await self.visiting.deliver(month, store.code, lines[version:])
            assert answer.status_code in (200, *TAKEN), answer.text
            self.plans += 1

        return act

    def calling(self, month: str, store: Store, half: bool) -> Callable[[], Awaitable[None]]:
        async def act() -> None:
            with self.office.house.database.reading() as session:
                query = select(VisitRow).where(VisitRow.month == month, VisitRow.store == store.code)
                rows = list(session.exec(query.where(VisitRow.state == "planned").order_by(VisitRow.due_on)))
            async with self.visiting.door(f"oa-{store.code.lower()}") as door:
                for row in rows[: len(rows) // 2] if half else rows:
                    answer = await door.post(
                        f"/api/visits/{row.id}/call", json={"outcome": "satisfied", "satisfaction": 5}
                    )
                    assert answer.status_code == 200, answer.text
            await self.visiting.delivered()

        return act

    def consolidating(self, month: str) -> Callable[[], Awaitable[None]]:
        async def act() -> None:
            answer = await self.visiting.post(f"months/{month}/consolidate", by="wang")
            assert answer.status_code in (200, 202), answer.text
            self.consolidated += 1

        return act

    def reporting(self, month: str) -> Callable[[], Awaitable[None]]:
        async def act() -> None:
            answer = await self.visiting.post(f"months/{month}/report", by="wang")
            assert answer.status_code in (200, 202), answer.text

        return act

    # What must have happened

    def check(self) -> dict[str, int]:
        """Figures of the run. AssertionError where a plan, a consolidation or an escalation is missing or twice."""
        with self.office.house.database.reading() as session:
            cases = list(session.exec(select(CaseRow)))
            tasks = {(row.case_id, row.key): row for row in session.exec(select(TaskRow))}
            deadlines = list(session.exec(select(DeadlineRow)))
            events = list(session.exec(select(EventRow)))
            notices = list(session.exec(select(NoticeRow)))
            submissions = list(session.exec(select(SubmissionRow)))
        months = [shifted(self.first, m) for m in range(self.months)]
        expected = sorted(f"{month}-{store.code}" for month in months for store in self.active(month))
        found = sorted(row.number for row in cases if row.process == "visit_plan" and row.number[:7] in months)
        assert found == expected, "exactly one plan for every store that is active, and month"
        assert sorted(row.number for row in cases if row.process == "visit_month" and row.number in months) == months
        sent = [row for row in submissions if row.form == "consolidate"]
        assert (len(sent), len({row.case_id for row in sent})) == (self.months, self.months)
        assert {row.state for row in submissions} == {"decided"}
        assert {row.state for row in cases if row.number[:7] in months} == {"archived"}
        ended = {row.case_id: row.at for row in events if row.kind == "archived"}
        self.check_armed(tasks, deadlines, {row.id: row.process for row in cases})
        heard: dict[str, int] = {}
        for row in notices:
            heard[row.key] = heard.get(row.key, 0) + (row.what in ("overdue", "reminder"))
        fired = 0
        for row in deadlines:
            task = tasks[row.case_id, row.task]
            done_at = (
                task.done_at
                or next(
                    (
                        one.at
                        for one in events
                        if one.case_id == row.case_id and one.kind == "withdrawn" and one.task == row.task
                    ),
                    ended.get(row.case_id),
                )
                if task.state != "open"
                else None
            )
            must = done_at is None or row.planned_at < done_at
            if ended.get(row.case_id) is None and row.planned_at > self.office.now():
                continue
            assert (row.fired_at is not None) == must, (
                f"{row.task} rung {row.rung}: {row.planned_at} {done_at} {row.fired_at}"
            )
            if row.fired_at and not row.passed:
                fired += 1
                assert heard.get(f"{row.case_id}/{row.task}/{row.generation}/{row.rung}") == 1
        return {
            "cases": len(cases),
            "plans handed in": self.plans,
            "consolidations": len(sent),
            "submissions": len(submissions),
            "rungs fired": fired,
            "notices": len(notices),
        }

    def check_armed(
        self, tasks: dict[tuple[str, str], TaskRow], deadlines: list[DeadlineRow], processes: dict[str, str]
    ) -> None:
        """Every task has the rungs of its ladder, each planned from its due time: what was never armed cannot fire."""
        armed: dict[tuple[str, str], list[DeadlineRow]] = {}
        for row in deadlines:
            armed.setdefault((row.case_id, row.task), []).append(row)
        for (case, key), task in tasks.items():
            if processes[case] not in ("visit_plan", "visit_month"):
                continue
            rungs = sorted(armed.get((case, key), []), key=lambda row: row.rung)
            assert [row.after_seconds for row in rungs] == [hours * 3600 for hours in LADDERS[task.form]], key
            assert all(row.planned_at >= task.due_at + timedelta(seconds=row.after_seconds) for row in rungs), key


def chain_of(stores: int, first: str, months: int) -> list[Store]:
    """Stores of three regions; one opens in the middle, one closes, one after every tenth."""
    middle = shifted(first, months // 2)
    found = []
    for n in range(stores):
        life: dict[str, Any] = {}
        if n % 10 == 3:
            life["opens_on"] = day(middle, 1)
        if n % 10 == 4:
            life["closes_on"] = day(middle, 10)
        found.append(Store(code=f"ST{n:02}", name=f"ST{n:02}", region=("east", "south", "north")[n % 3], **life))
    return found


async def long_run(months: int, stores: int, lines: int, outage: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        house = House(Settings(data=Path(folder) / "var", keys=SecretStr(KEYS)))
        schema.upgrade(house.database)
        async with await WorkflowEnvironment.start_time_skipping(
            data_converter=data_converter(house.keys), test_server_existing_path=test_server()
        ) as env:
            closed_office = Office(env.client, house, env)
            first = next_month_like(closed_office, 2)
            async with at_work(closed_office, *chain_of(stores, first, months)) as visiting:
                run = Run(visiting.office, first, months, stores, lines, outage)
                began, used = monotonic(), process_time()
                await run.go()
                figures = run.check()
        house.database.close()
    figures |= {"seconds": round(monotonic() - began), "seconds of CPU": round(process_time() - used)}
    sys.stdout.write("".join(f"{name}: {count}\n" for name, count in figures.items()))


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    parser = argparse.ArgumentParser()
    for name, default in (("--months", 24), ("--stores", 40), ("--lines", 30), ("--outage", 1)):
        parser.add_argument(name, type=int, default=default)
    asyncio.run(long_run(**vars(parser.parse_args())))

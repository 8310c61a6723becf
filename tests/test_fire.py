"""The fire, small: sixty complaints and four kills on the real product; and damage done to a copy of its ledger, which must be found."""

import asyncio
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fire import scenarios, scorecard
from tests.fire.plan import AFTER, Death, drawn
from tests.fire.scenarios import Report
from tests.fire.senders import Sender
from tests.fire.site import Site, until

pytestmark = [
    pytest.mark.fire,
    pytest.mark.sqlite,
    pytest.mark.timeout(420),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the fire reads /proc"),
]

SEED = int(os.environ.get("KEFU_FIRE_SEED", "1"))
CASES, KILLS, RATE = 60, 4, 2.5
AGAIN = f"KEFU_FIRE_SEED={SEED} pytest -n0 -m fire"


@pytest.fixture(scope="module")
def burnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, scorecard.Scorecard]:
    base = tmp_path_factory.mktemp("fire") / "storm"
    report, plan = asyncio.run(scenarios.storm(base, SEED, CASES, KILLS, RATE, sample=20))
    card = scorecard.Scorecard(load=scorecard.load_of(SEED, CASES, KILLS, RATE))
    scorecard.of_storm(card, plan, report)
    return report, card


def held(card: scorecard.Scorecard) -> None:
    card.print(AGAIN)
    assert card.rows
    assert not card.failed, f"seed {SEED}; the scorecard is above; again: {AGAIN}"


def test_nothing_acknowledged_is_lost_and_every_rung_fires_once(burnt: tuple[Report, scorecard.Scorecard]):
    held(burnt[1])


def test_what_fell_due_during_an_outage_fires_after_it(tmp_path: Path):
    card = scorecard.Scorecard()
    scorecard.of_backlog(card, asyncio.run(scenarios.backlog(tmp_path / "backlog", SEED, 100, outage=5, openings=15)))
    held(card)


def test_a_number_sent_by_fifty_at_once_is_one_case(tmp_path: Path):
    card = scorecard.Scorecard()
    crowd = scenarios.crowd(tmp_path / "crowd", SEED, numbers=3, copies=50, forgetting=False)
    scorecard.of_crowd(card, asyncio.run(crowd))
    held(card)


async def provoked(base: Path) -> tuple[list[bool], Counter[str]]:
    """Every failpoint in a house in which nothing happens: whether it struck, and who died."""
    site = Site(base, scenarios.POLICY)
    async with site, site.door() as http, scenarios.written(site) as journal:
        sender = Sender(http, journal)
        deaths = [Death(0, part, after, count=1_000) for part, after in AFTER]
        met = [await scenarios.died(site, death, sender, f"P-{n}", within=0) for n, death in enumerate(deaths)]
        await until(lambda: len(site.deaths) >= len(deaths), within=30)
    return met, Counter(site.deaths)


def test_a_failpoint_that_does_not_come_by_itself_is_brought_about(tmp_path: Path):
    met, died = asyncio.run(provoked(tmp_path / "provoked"))
    assert met == [True] * len(AFTER)
    assert died == Counter(part for part, _ in AFTER)


# That it can fail


def test_a_storm_in_which_a_failpoint_never_struck_has_failed(burnt: tuple[Report, scorecard.Scorecard]):
    report, card = burnt
    assert [row.holds for row in card.rows if "failpoint" in row.claim] == [True]
    plan = drawn(SEED, CASES, KILLS, RATE, report.site.parts)
    more = replace(plan, deaths=(*plan.deaths, Death(0, "relay", "submission")))
    judged = scorecard.Scorecard()
    scorecard.the_failpoints(judged, more, report)
    assert [row.id for row in judged.failed] == ["R1"]
    assert "relay after a submission 0 of 1" in judged.failed[0].measured


def test_a_doctor_who_did_not_come_is_no_clean_one(burnt: tuple[Report, scorecard.Scorecard]):
    report, card = burnt
    assert report.doctor == "clean"
    judged = scorecard.Scorecard()
    scorecard.of_storm(
        judged, drawn(SEED, CASES, KILLS, RATE, report.site.parts), replace(report, doctor="did not come")
    )
    assert [row.id for row in judged.failed] == [*(row.id for row in card.failed), "R7"]


FIRED = "select case_id, task, generation, rung from deadlines where fired_at is not null and passed = 0 limit 1"
SPARED = """
    select d.case_id, d.task, d.generation, d.rung from deadlines d join tasks t on t.case_id = d.case_id and t.key = d.task
    where d.fired_at is null and t.state = 'done' and t.generation = 0 and t.done_at < d.planned_at limit 1
"""
OF_IT = "where case_id = ? and task = ? and generation = ? and rung = ?"
Damage = Callable[[sqlite3.Connection], str]
"""What is done to a ledger, and to which case."""


def to_a_rung(query: str, change: str) -> Damage:
    def done(ledger: sqlite3.Connection) -> str:
        rung = ledger.execute(query).fetchone()
        ledger.execute(f"{change} {OF_IT}", rung)
        return str(rung[0])

    return done


def to_one(query: str, change: str) -> Damage:
    def done(ledger: sqlite3.Connection) -> str:
        row, case = ledger.execute(query).fetchone()
        ledger.execute(change, (row,))
        return str(case)

    return done


ARCHIVED = "select id, id from cases where state = 'archived' limit 1"
TAKEN = "select id, case_id from submissions where form = 'reply' and state = 'decided' limit 1"
DAMAGE: dict[str, tuple[str, Damage]] = {
    "a rung that fired is not there": ("missed", to_a_rung(FIRED, "delete from deadlines")),
    "a rung did not fire": ("missed", to_a_rung(FIRED, "update deadlines set fired_at = null")),
    "a rung fired before its time": (
        "early",
        to_a_rung(FIRED, "update deadlines set fired_at = datetime(planned_at, '-1 seconds')"),
    ),
    "a rung fired after its task was done": ("unfair", to_a_rung(SPARED, "update deadlines set fired_at = planned_at")),
    "a rung was planned for another time": (
        "wrong",
        to_a_rung(SPARED, "update deadlines set planned_at = datetime(planned_at, '+1 seconds')"),
    ),
    "somebody heard twice": (
        "doubled",
        to_one(
            "select id, case_id from notices where what = 'overdue' limit 1",
            "insert into notices (person, key, what, case_id, task, created_at, delivered_at, data)"
            " select person, key || '/again', what, case_id, task, created_at, delivered_at, data from notices where id = ?",
        ),
    ),
    "somebody was not told": (
        "missed",
        to_one("select id, case_id from notices where what = 'overdue' limit 1", "delete from notices where id = ?"),
    ),
    "an archive is not there": ("lost", to_one(ARCHIVED, "delete from archive where case_id = ?")),
    "a closed case is open": (
        "wrong",
        to_one(ARCHIVED, "update cases set state = 'open', closed_at = null, closed_because = null where id = ?"),
    ),
    "what was acknowledged is not there": ("lost", to_one(TAKEN, "delete from submissions where id = ?")),
    "what was acknowledged is not decided": (
        "undecided",
        to_one(TAKEN, "update submissions set state = 'pending' where id = ?"),
    ),
    "what was taken is refused": ("lost", to_one(TAKEN, "update submissions set state = 'refused' where id = ?")),
    "a case is not there": (
        "lost",
        to_one("select number, id from cases limit 1", "update cases set number = 'gone' where number = ?"),
    ),
    "an event happened twice": (
        "doubled",
        to_one(
            "select id, case_id from events where kind = 'done' limit 1",
            "insert into events (case_id, key, kind, task, at, submission, by, role, data)"
            " select case_id, key || '/again', kind, task, at, submission, by, role, data from events where id = ?",
        ),
    ),
    "a task is due at another time": (
        "wrong",
        to_one(
            "select case_id || key, case_id from tasks limit 1",
            "update tasks set due_at = datetime(due_at, '+1 seconds') where case_id || key = ?",
        ),
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found(damage: str, burnt: tuple[Report, scorecard.Scorecard], tmp_path: Path):
    report, _ = burnt
    kind, do = DAMAGE[damage]
    with closing(sqlite3.connect(report.ledger)) as ledger, closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        ledger.backup(copy)
        case = do(copy)
        copy.commit()
    found = set(report.judged_again(tmp_path / "copy.db").findings) - set(report.verdict.findings)
    assert kind in {finding.kind for finding in found if case in finding.case or finding.case == "-"}, found

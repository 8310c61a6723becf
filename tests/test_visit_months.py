"""A leap February by itself. Three months of five stores with five lines each: February among them, stores of every kind, three days without a worker over the 28th."""

import pytest

from models.visits.months import shifted
from tests.office import Office
from tests.visit_months import Run, chain_of
from tests.visiting import at, at_work, day, next_month_like


@pytest.mark.parametrize("leap", [True, False])
async def test_in_february_the_stores_plans_come_before_the_consolidation_by_the_hour(
    closed_office: Office, leap: bool
):
    """E1, E2: on the 28th both, in a common year; the consolidation on the 29th in a leap year. One of each, however short."""
    march = next_month_like(closed_office, 3, leap)
    async with at_work(closed_office, *chain_of(2, march, 1)) as visiting:
        office = visiting.office
        run = Run(office, march, months=1, stores=2, lines=1, outage_in=9)
        await run.go()
        assert run.check()["consolidations"] == 1
        plan, month = office.tasks(run.visiting.plan(march, "ST00")), office.tasks(run.visiting.month(march))
        assert plan["plan"].due_at == at(day(shifted(march, -1), 28), "18:00")
        assert month["consolidation"].due_at == at(day(shifted(march, -1), 29 if leap else 28), "24:00")


async def test_every_plan_every_consolidation_and_every_escalation_comes_exactly_once(closed_office: Office):
    """E2, E55–E58. The months before are January, February and March; nobody is at work from 28 to 31 February, so to speak."""
    first = next_month_like(closed_office, 2)
    async with at_work(closed_office, *chain_of(5, first, 3)) as visiting:
        run = Run(visiting.office, first, months=3, stores=5, lines=5)
        await run.go()
        figures = run.check()
    assert figures["consolidations"] == 3
    assert figures["rungs fired"] > 20
    assert len(run.active(first)) != len(run.active(shifted(first, 2))) or len(run.chain) == 5

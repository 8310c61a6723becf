"""Three months of five stores with five lines each: February among them, stores of every kind, three days without a worker over the 28th."""

from models.visits.months import shifted
from settings import House
from tests.office import Office
from tests.visit_months import Run, chain_of
from tests.visiting import next_month_like, with_stores


async def test_every_plan_every_consolidation_and_every_escalation_comes_exactly_once(
    house: House, closed_office: Office
):
    """E2, E55–E58. The months before are January, February and March; nobody is at work from 28 to 31 February, so to speak."""
    first = next_month_like(closed_office, 2)
    with_stores(house, *chain_of(5, first, 3))
    async with Office(closed_office.client, house, closed_office.env) as office:
        await office.worker_comes()
        run = Run(office, first, months=3, stores=5, lines=5)
        await run.go()
        figures = run.check()
    assert figures["consolidations"] == 3
    assert figures["rungs fired"] > 20
    assert len(run.active(first)) != len(run.active(shifted(first, 2))) or len(run.chain) == 5

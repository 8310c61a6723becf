"""A canary's life, told."""

from datetime import timedelta

from sqlmodel import select

from models.canary import CANARY
from models.tables import CaseRow, SubmissionRow
from settings import House
from tests.office import Office, eventually


def canaries(house: House) -> list[CaseRow]:
    with house.database.reading() as session:
        return list(session.exec(select(CaseRow).where(CaseRow.process == CANARY.name).order_by(CaseRow.number)))


async def a_canary_is_heard(office: Office) -> str:
    """A canary from its opening to the archive: every step as the watch, the relay and the clock do it."""
    watching = office.front.canary_watch
    watching.round()
    case = canaries(office.house)[-1].id
    await delivered(office, case)
    await office.pass_time(timedelta(seconds=31))
    await eventually(lambda: office.fired(case, "heard"), within=30)
    assert watching.round() == []
    await delivered(office, case)
    await eventually(lambda: office.case(case).state == "archived", within=30)
    return case


async def delivered(office: Office, case: str) -> None:
    """As the relay does it: again, where the machine was too busy."""

    async def is_decided() -> bool:
        await office.relay.deliver(case)
        return all(row.state == "decided" for row in office.rows(SubmissionRow, case))

    await eventually(is_decided, within=60)

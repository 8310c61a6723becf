"""The command for the calendar: what opens by itself and when, and opening a period by hand."""

import asyncio
from typing import Annotated, Any

import typer

from models.calendar import Monthly
from models.people import Role
from models.words import say
from settings import House
from starter.calendar.almanac import INSTALLED, Entry
from starter.commands.terminal import LANGUAGE, As, Data, out, table_of, with_front
from starter.front import Front
from starter.refusals import Conflict, Forbidden, NotFound

app = typer.Typer()

MAY_OPEN = (Role.MANAGER, Role.ADMINISTRATOR)


@app.command()
def calendar(
    by: As,
    process: Annotated[str | None, typer.Argument(help="只看哪一种 · one process")] = None,
    period: Annotated[
        str | None, typer.Option("--open", metavar="PERIOD", help="补开某月或某日 · open a month or a day by hand")
    ] = None,
    data: Data = None,
) -> None:
    """日程 · what opens by itself, and when: kefu calendar; by hand: kefu calendar visit_plan --open 2026-12"""

    async def act(front: Front) -> Any:
        actor = front.actor(by)
        if process and period:
            if actor.role not in MAY_OPEN:
                raise Forbidden("may_not_open", role=actor.role, process=process)
            rhythm = front.almanac.rhythm(process)
            try:
                wanted = rhythm.period(period, front.almanac.zone)
            except ValueError as error:
                raise NotFound("no_period", period=period, like=" / ".join(rhythm.like)) from error
            if wanted.at > front.now():
                raise Conflict("period_ahead", period=period)
            return await _in_thread(front, process, wanted, by), front.house
        if process:
            front.almanac.rhythm(process)
        return front.almanac.entries(), front.house

    found, house = with_front(data, act)
    if isinstance(found, list):
        _show([entry for entry in found if process in (None, entry.process)], house)
        return
    out.print(say("screen", "period_opened", LANGUAGE, cases=found.cases, new=found.new), markup=False)
    if found.refused:
        raise SystemExit(say("screen", "period_refused", LANGUAGE, refused=found.refused))


async def _in_thread(front: Front, process: str, period: Any, by: str) -> Any:
    return await asyncio.to_thread(front.almanac.open, process, period, by)


def _show(entries: list[Entry], house: House) -> None:
    table = table_of("opens", "rhythm", "next_opening", "opened_last")
    for entry in entries:
        monthly = isinstance(entry.rhythm, Monthly)
        day = str(entry.rhythm.day) if isinstance(entry.rhythm, Monthly) else ""
        rhythm = say("screen", "monthly" if monthly else "daily", LANGUAGE, day=day, at=entry.rhythm.at)
        last = [f"{row.period} {_by(row.by)} {row.cases}" for row in entry.last]
        late = [f"{period.name} {say('screen', 'not_opened', LANGUAGE)}" for period in entry.missed]
        table.add_row(
            say("screen", entry.process, LANGUAGE),
            rhythm,
            f"{entry.next.at.astimezone(house.calendar):%Y-%m-%d %H:%M}",
            "\n".join([*late, *last]),
        )
    out.print(table if entries else say("screen", "nothing", LANGUAGE), markup=False)


def _by(who: str) -> str:
    return say("screen", "before_us", LANGUAGE) if who == INSTALLED else who

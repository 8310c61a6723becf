"""Commands for looking after the desk: is all well, and what to do where it is not."""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from models.words import LIST, aside, say
from starter.commands.terminal import LANGUAGE, Data, form_word, out, settings_of, span, with_front, word
from starter.front import Front
from starter.watching.doctor import Examination, Fault, examine
from starter.watching.lateness import Spread

app = typer.Typer()

SHOWN = 10
"""Faults of one kind that are listed; all of them with --json."""
LATEST = 3
"""So many of those who were late are printed; more of them with --json."""
PERIOD = timedelta(days=31)

Day = Annotated[str | None, typer.Option(help="日期，如 2026-11-01 · a day of the calendar; from its beginning")]


@app.command()
def doctor(
    since: Day = None,
    until: Day = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="不逐个询问工单 · asks the engine for its list, not every case")
    ] = False,
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """体检 · did everything happen that should have, once? Exit code 1 where anything did not. Changes nothing."""

    async def act(front: Front) -> Examination:
        zone, now = front.house.calendar, datetime.now(UTC)
        begin = _day(since, zone, "--since") if since else now - PERIOD
        end = _day(until, zone, "--until") if until else now + timedelta.resolution
        if begin >= end:
            raise SystemExit("--since 应早于 --until · --since must lie before --until")
        return await examine(front, begin, end, now, quick=quick, language=LANGUAGE)

    found: Examination = with_front(data, act)
    if as_json:
        print(found.model_dump_json(indent=2))
    else:
        _show(found, ZoneInfo(settings_of(data).zone))
    raise typer.Exit(1 if found.faults else 0)


@app.command()
def reconcile(
    everything: Annotated[
        bool, typer.Option("--all", help="逐个询问工单，恢复备份之后用 · asks every case; after a restore")
    ] = False,
    data: Data = None,
) -> None:
    """核对 · puts right where the engine is not what the ledger shows, and names the rest."""

    async def act(front: Front) -> bool:
        findings = await front.reconciler.round(everything)
        for finding in findings:
            out.print(f"{finding.about}  {say('alarm', finding.kind, LANGUAGE)}", markup=False)
        out.print(say("screen", "reconciled" if findings else "all_well", LANGUAGE, count=len(findings)))
        return all(finding.repaired for finding in findings)

    raise typer.Exit(0 if with_front(data, act) else 1)


@app.command()
def rebuild(
    case: str,
    yes: Annotated[bool, typer.Option("--yes", help="不再询问 · do not ask")] = False,
    data: Data = None,
) -> None:
    """重建 · starts an open case anew in the engine, from all that was decided in it. Nobody is told twice."""
    if not yes and sys.stdin.isatty():
        typer.confirm(f"{case}: 终止并按台账重建？· terminate its run and rebuild it from the ledger?", abort=True)

    async def act(front: Front) -> None:
        await front.reconciler.rebuild(case)

    with_front(data, act)
    out.print(f"{case}  ok", markup=False)


def _show(found: Examination, zone: ZoneInfo) -> None:
    values = found.model_dump() | {
        "rungs": LIST[LANGUAGE].join(f"{say('rung', name, LANGUAGE)} {count}" for name, count in found.rungs.items())
        or "0",
        "slowest": round(found.slowest_system.total_seconds(), 1),
        "since": f"{found.since.astimezone(zone):%Y-%m-%d %H:%M}",
        "until": f"{found.until.astimezone(zone):%Y-%m-%d %H:%M}",
    }
    out.print(say("screen", "examined", LANGUAGE, **values), markup=False)
    for said in (*_lateness(found), *_latest(found)):
        out.print(said, markup=False)
    if found.cache_is_small:
        out.print(say("screen", "small_cache", LANGUAGE, **values), markup=False)
    by_kind: dict[str, list[Fault]] = defaultdict(list)
    for fault in found.faults:
        by_kind[fault.kind].append(fault)
    for faults in by_kind.values():
        out.print(f"✗ {len(faults)} × {faults[0].what_to_do}", markup=False)
        for fault in faults[:SHOWN]:
            known = [fault.number, fault.case, fault.about, *(f"{k}={v}" for k, v in fault.data.items() if v)]
            out.print("   " + "  ".join(dict.fromkeys(word for word in known if word)), markup=False)
        if len(faults) > SHOWN:
            out.print("   … " + aside(str(len(faults) - SHOWN), "--json", LANGUAGE), markup=False)
    if not found.faults:
        out.print(say("screen", "all_well", LANGUAGE), markup=False)


def _lateness(found: Examination) -> Iterator[str]:
    """How late the system was, to the tenth of a second; and apart from it how late people were."""
    systems = {"": found.fired, **found.delivered}
    for channel, spread in systems.items():
        if spread.count:
            code = "late_delivered" if channel else "late_fired"
            yield say("screen", code, LANGUAGE, channel=channel, n=spread.count, **_spans(spread, _seconds))
    if found.overdue.count:
        yield say("screen", "late_people", LANGUAGE, n=found.overdue.count, **_spans(found.overdue, span))


def _latest(found: Examination) -> Iterator[str]:
    """Of people and of the system, those who were late by most."""
    for by in ("system", "person"):
        for late in [late for late in found.late if late.by == by][:LATEST]:
            rung = "" if late.rung is None else f"/{late.rung}"
            words = (word(f"late_by_{by}"), late.number, late.case, form_word(late.task) + rung, span(late.span))
            yield "   " + "  ".join(words)


def _spans(spread: Spread, said: Callable[[timedelta], str]) -> dict[str, str]:
    return {name: said(getattr(spread, name)) for name in ("p50", "p99", "longest")}


def _seconds(length: timedelta) -> str:
    return f"{length.total_seconds():.1f} s"


def _day(text: str, zone: ZoneInfo, option: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), datetime.min.time(), zone)
    except ValueError as error:
        raise SystemExit(f"{option}: {text!r} 应写作 2026-11-01 · must be like 2026-11-01") from error

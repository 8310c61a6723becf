"""The reconciler: is what the ledger shows what the engine runs? It repairs what it can, and names the rest."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from sqlmodel import col, select
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus, WorkflowQueryFailedError
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from activities.database import once_more
from models.tables import CaseRow, SubmissionRow, TaskRow
from settings import House
from starter.docket import Docket
from starter.reopening import is_open
from starter.watching.alarms import Finding, keep, report
from starter.watching.watchdog import PATIENCE, undecided

EVERY = timedelta(hours=1)
GLANCE_EVERY = timedelta(seconds=20)
"""Between two full rounds, what the engine itself reports is looked at as often as this."""
SAMPLE = 20
"""So many of the cases decided last are asked what they know. Had the engine gone back in time, one of them would tell."""
ANSWER_WITHIN = timedelta(seconds=5)

LOST, ENDED, BEHIND, AHEAD, LINGERING = "run_lost", "run_ended", "run_behind", "run_ahead", "run_lingers"
FAILED, UNKNOWN, WEDGED, UNREACHABLE = "run_failed", "run_unknown", "run_wedged", "engine_unreachable"
SILENT = "run_silent"
"""A run that does not say what it knows: no alarm, since a busy worker may be late, but an answer to whoever asks."""
DIFFERS = "run_differs"
"""A run that has decided what the ledger has, and owes something else."""
REPAIRED = (LOST, ENDED, BEHIND, AHEAD, LINGERING)
"""Kinds that a round puts right: the case is started anew from the ledger, or its idle run is stopped."""
NAMED = (FAILED, UNKNOWN)
GLANCED = (WEDGED, UNREACHABLE)

Check = Callable[[str], Awaitable[Finding | None]]

log = structlog.get_logger()


class Reconciler:
    """Compares the ledger's open cases with the engine's running ones. The ledger is what people see, so it prevails."""

    def __init__(
        self,
        docket: Docket,
        house: House,
        client: Client,
        clock: Callable[[], datetime],
        task_queue: str,
    ) -> None:
        self._docket = docket
        self._database = house.database
        self._people = house.people
        self._client = client
        self._clock = clock
        self._task_queue = task_queue

    async def round(self, everything: bool = False) -> list[Finding]:
        """Compare and repair, and name what nobody decides; what does not answer is no alarm. With `everything`, ask every open case what it knows: after a restore.

        Raises RPCError or RuntimeError when the engine does not answer.
        """
        found = [finding async for finding in self.compare(everything)]
        silent = [finding for finding in found if finding.kind == SILENT]
        findings = [finding for finding in found if finding.kind != SILENT] + await asyncio.to_thread(self._stuck)
        return await self._kept_and_repaired([*REPAIRED, *NAMED, UNREACHABLE], findings) + silent

    async def glance(self) -> list[Finding]:
        """What the engine itself says went wrong: runs ended from outside, and runs whose code fails."""
        ended = [finding async for finding in self._ended_lately()]
        return await self._kept_and_repaired(GLANCED, [*ended, *[finding async for finding in self._wedged()]])

    async def out_of_reach(self) -> None:
        """The engine does not answer. The next glance or round that succeeds clears this."""
        finding = Finding(UNREACHABLE, "engine", self._clock())
        await asyncio.to_thread(self._keep, (), [finding])

    @once_more
    def _keep(self, kinds: Sequence[str], findings: list[Finding]) -> None:
        with self._database.writing() as session:
            new = keep(session, "reconciler", kinds, findings, self._people, self._clock())
        report(new)

    # Finding

    async def examine(self, everything: bool) -> list[Finding]:
        """Where the ledger and the engine differ, and which runs stand still. Nothing is touched, and nobody is told."""
        stuck = [finding async for finding in self._wedged()]
        named = {finding.about for finding in stuck}
        return stuck + [
            finding async for finding in self.compare(everything, self._owing) if finding.about not in named
        ]

    async def compare(self, everything: bool, further: Check | None = None) -> AsyncIterator[Finding]:
        """Where the ledger and the engine differ, nothing touched. `further` looks at each run that is asked and agrees."""
        opened = await asyncio.to_thread(self._open_cases)
        running = {run.id async for run in self._runs("ExecutionStatus = 'Running' AND WorkflowType != 'opening'")}
        for case in opened.keys() - running:
            if finding := await self._missing(case):
                yield finding
        for case in running - opened.keys():
            if finding := await self._idle(case):
                yield finding
        alive = opened.keys() & running
        sample = alive if everything else alive & set(await asyncio.to_thread(self._decided_last))
        differing = await self._asked(sample, further)
        if not everything and any(finding.kind != SILENT for finding in differing):
            differing += await self._asked(alive - sample, further)
        for finding in differing:
            yield finding

    async def _asked(self, cases: Collection[str], further: Check | None = None) -> list[Finding]:
        """Ask cases what they know, some at once: each may take five seconds to say nothing, and is then asked once more.
        Where as many as that all say nothing, nobody is at work, and the others are not asked."""
        findings: list[Finding] = []
        left = sorted(cases)
        while left:
            some, left = left[:SAMPLE], left[SAMPLE:]
            answers = await self._answers(some, further)
            silent = [finding.about for finding in answers if finding.kind == SILENT]
            again = await self._answers(silent, further)
            findings += [*(finding for finding in answers if finding.kind != SILENT), *again]
            if left and [finding.kind for finding in again] == [SILENT] * SAMPLE:
                return [*findings, Finding(SILENT, "…", self._clock(), data={"not_asked": len(left)})]
        return findings

    async def _answers(self, cases: Sequence[str], further: Check | None) -> list[Finding]:
        async def answer(case: str) -> Finding | None:
            try:
                return await self._differing(case) or (await further(case) if further else None)
            except (RPCError, WorkflowQueryFailedError) as error:
                log.warning("case.cannot_be_asked", case=case, reason=type(error).__name__)
                return Finding(SILENT, case, self._clock(), case)

        answers = await asyncio.gather(*map(answer, cases))
        return [finding for finding in answers if finding]

    def _open_cases(self) -> dict[str, datetime]:
        """Open cases whose opening the engine has answered, and when they were opened."""
        with self._database.reading() as session:
            undecided = select(SubmissionRow.case_id).where(
                SubmissionRow.state == "pending", SubmissionRow.form == "open"
            )
            rows = session.exec(
                select(CaseRow.id, CaseRow.opened_at).where(CaseRow.state == "open", col(CaseRow.id).not_in(undecided))
            )
            return dict(rows.all())

    def _decided_last(self) -> list[str]:
        with self._database.reading() as session:
            latest = session.exec(
                select(SubmissionRow.case_id)
                .join(CaseRow)
                .where(CaseRow.state == "open", SubmissionRow.state == "decided")
                .order_by(col(SubmissionRow.decided_at).desc())
                .limit(SAMPLE)
            )
            return list(dict.fromkeys(latest))

    async def _missing(self, case: str) -> Finding | None:
        """An open case that is not among the running ones. The list may be a moment old: ask for the case itself."""
        status = await self._status(case)
        if status is WorkflowExecutionStatus.RUNNING:
            return None
        row = await asyncio.to_thread(self._row, case)
        if row is None or row.state != "open":
            return None
        kinds = {None: LOST, WorkflowExecutionStatus.FAILED: FAILED, WorkflowExecutionStatus.COMPLETED: AHEAD}
        return Finding(kinds.get(status, ENDED), case, row.opened_at, case)

    async def _idle(self, case: str) -> Finding | None:
        """A run whose case the ledger does not have open."""
        if (row := await asyncio.to_thread(self._row, case)) is None:
            return Finding(UNKNOWN, case, self._clock())
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_WITHIN.total_seconds()):
                while await asyncio.to_thread(self._is_over, case):  # or its customer has come back meanwhile
                    if await self._status(case) is not WorkflowExecutionStatus.RUNNING:
                        return None
                    await asyncio.sleep(0.2)  # it may be about to end
                return None
        return Finding(LINGERING, case, row.closed_at or self._clock(), case)

    async def _differing(self, case: str) -> Finding | None:
        """A run that does not know what the ledger knows, or the other way round."""
        decided = await asyncio.to_thread(self._known, case, ("decided",))
        taken = await self._says(case, "decided")
        if decided - taken:
            return Finding(BEHIND, case, self._clock(), case)
        if taken - await asyncio.to_thread(self._known, case, ("pending", "decided", "refused")):
            return Finding(AHEAD, case, self._clock(), case)
        return None

    async def _owing(self, case: str) -> Finding | None:
        """A run that owes other tasks than the ledger shows. What it has just decided it is about to write, so it is given
        time; and where more comes in meanwhile, nothing is said of it."""
        end = asyncio.get_running_loop().time() + ANSWER_WITHIN.total_seconds()
        while (owed := await asyncio.to_thread(self._owed, case)) is not None:
            if owed == await self._says(case, "tasks"):
                return None
            if asyncio.get_running_loop().time() > end:
                return Finding(DIFFERS, case, self._clock(), case)
            await asyncio.sleep(0.2)
        return None

    async def _says(self, case: str, what: str) -> set[str]:
        handle = self._client.get_workflow_handle(case)
        return set(await handle.query(what, result_type=list[str], rpc_timeout=ANSWER_WITHIN))

    async def _ended_lately(self) -> AsyncIterator[Finding]:
        """Rounds find these too, an hour later."""
        since = (self._clock() - 10 * GLANCE_EVERY).strftime("%Y-%m-%dT%H:%M:%SZ")
        ended = f"ExecutionStatus IN ('Terminated', 'TimedOut', 'Failed') AND CloseTime > '{since}'"
        for case in {run.id async for run in self._runs(ended)}:  # several runs of one case may have
            row = await asyncio.to_thread(self._row, case)
            if row and row.state == "open" and (finding := await self._missing(case)):
                yield finding

    async def _wedged(self) -> AsyncIterator[Finding]:
        async for run in self._runs("TemporalReportedProblems IS NOT NULL AND ExecutionStatus = 'Running'"):
            row = await asyncio.to_thread(self._row, run.id)
            yield Finding(WEDGED, run.id, self._clock(), run.id if row else None)

    def _runs(self, query: str) -> AsyncIterator[WorkflowExecution]:
        return self._client.list_workflows(f"TaskQueue = '{self._task_queue}' AND {query}")

    async def _status(self, case: str) -> WorkflowExecutionStatus | None:
        """How the case's latest run stands; None when the engine has none."""
        try:
            return (await self._client.get_workflow_handle(case).describe()).status
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise

    def _row(self, case: str) -> CaseRow | None:
        with self._database.reading() as session:
            return session.get(CaseRow, case)

    def _is_over(self, case: str) -> bool:
        """Whether a case is closed, and its customer not back."""
        with self._database.reading() as session:
            row = session.get(CaseRow, case)
            return row is not None and not is_open(session, row)

    def _known(self, case: str, states: Sequence[str]) -> set[str]:
        with self._database.reading() as session:
            ids = select(SubmissionRow.id).where(SubmissionRow.case_id == case, col(SubmissionRow.state).in_(states))
            return set(session.exec(ids))

    def _stuck(self) -> list[Finding]:
        with self._database.reading() as session:
            return list(undecided(session, self._clock() - PATIENCE))

    def _owed(self, case: str) -> set[str] | None:
        """Its open tasks; None where it is closed, or has something to decide."""
        if self._known(case, ("pending",)):
            return None
        with self._database.reading() as session:
            tasks = select(TaskRow.key).where(TaskRow.case_id == case, TaskRow.state == "open")
            return set(session.exec(tasks)) if session.get_one(CaseRow, case).state == "open" else None

    # Repairing

    async def _kept_and_repaired(self, kinds: Sequence[str], findings: list[Finding]) -> list[Finding]:
        """Told first: whoever is killed while he repairs leaves nothing in silence."""
        await asyncio.to_thread(self._keep, kinds, findings)
        after = [await self._repaired(finding) for finding in findings]
        if repaired := [finding for finding in after if finding.repaired]:
            await asyncio.to_thread(self._keep, (), repaired)
        return after

    async def _repaired(self, finding: Finding) -> Finding:
        if finding.kind not in REPAIRED or finding.case is None:
            return finding
        if finding.kind == LINGERING:
            if not await asyncio.to_thread(self._is_over, finding.case):
                return finding
            await self._stop(finding.case, "the ledger has archived it")
        else:
            await self.rebuild(finding.case)
        return replace(finding, repaired=True)

    async def rebuild(self, case: str) -> None:
        """Start an open case anew from all that was decided in it. What the ledger holds already is not written twice."""
        await self._stop(case, "rebuilt from the ledger")
        start = await asyncio.to_thread(self._docket.rebuilt, case)
        with suppress(WorkflowAlreadyStartedError):  # somebody else has just done so
            await self._client.start_workflow(
                start.process,
                start.opened,
                id=case,
                task_queue=self._task_queue,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                task_timeout=timedelta(seconds=5),
            )
        log.warning("case.rebuilt", case=case)

    async def _stop(self, case: str, reason: str) -> None:
        try:
            await self._client.get_workflow_handle(case).terminate(reason=reason)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:  # there is none, or it has ended
                raise

"""The engine beside the ledger: which cases it runs, what they owe, and whether their histories replay."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHistory
from temporalio.converter import DefaultFailureConverter
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer

import worker
from settings import House
from tests.fire.site import Site
from tests.office import eventually
from workflows import WORKFLOWS

T = TypeVar("T")
AT_ONCE = 8


async def side_by_side(work: Callable[[str], Awaitable[T]], cases: list[str]) -> list[T]:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(case: str) -> T:
        async with places:
            return await work(case)

    return await asyncio.gather(*map(one, cases))


class Engine:
    """The house's Temporal, read with the house's keys."""

    def __init__(self, client: Client, site: Site) -> None:
        self._client = client
        self._site = site

    @classmethod
    async def of(cls, site: Site) -> "Engine":
        return cls(await House(site.settings).temporal(lazy=False), site)

    async def status(self, case: str) -> str:
        try:
            described = await self._client.get_workflow_handle(case).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return "UNKNOWN"
            raise
        return WorkflowExecutionStatus(described.status).name if described.status else "?"

    async def differences(self) -> list[str]:
        """Where the engine and the ledger disagree: an archived case is completed, an open one runs and owes the same."""
        states = dict(self._site.ask("select id, state from cases"))
        owed: dict[str, set[str]] = {case: set() for case in states}
        for case, task in self._site.ask("select case_id, key from tasks where state = 'open'"):
            owed[case].add(task)

        async def difference(case: str) -> str | None:
            status = await self.status(case)
            if status != ("COMPLETED" if states[case] == "archived" else "RUNNING"):
                return f"{case} is {states[case]} in the ledger, {status} in the engine"
            if states[case] == "open":
                tasks = set(await self._client.get_workflow_handle(case).query("tasks", result_type=list[str]))
                if tasks != owed[case]:
                    return f"{case} owes {owed[case]} in the ledger, {tasks} in the engine"
            return None

        return [found for found in await side_by_side(difference, list(states)) if found]

    async def replay(self, seed: int, sample: int) -> tuple[int, list[str], Counter[str]]:
        """Replay a sample of what was lived: how many, which failed, and what the engine noted of their workflow tasks."""
        cases = [case for (case,) in self._site.ask("select id from cases order by number")]
        chosen = random.Random(seed).sample(cases, min(sample, len(cases)))
        histories = await side_by_side(self._history, chosen)
        converter = self._client.config()["data_converter"]
        replayer = Replayer(
            workflows=WORKFLOWS,
            workflow_runner=worker.RUNNER,
            data_converter=replace(converter, failure_converter_class=DefaultFailureConverter),
        )
        failures = []
        for history in histories:
            result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
            if result.replay_failure:
                failures.append(f"{history.workflow_id}: {str(result.replay_failure)[:300]}")
        return len(histories), failures, sum((troubles_of(history) for history in histories), Counter())

    async def _history(self, case: str) -> WorkflowHistory:
        return await self._client.get_workflow_handle(case).fetch_history()

    async def runs(self, case: str, expected: int) -> int:
        """How many runs of a case the engine lists; its list lags behind, so as many as expected are waited for."""
        found = 0

        async def as_expected() -> bool:
            nonlocal found
            found = len([run async for run in self._client.list_workflows(f"WorkflowId = '{case}'")])
            return found == expected

        with suppress(AssertionError):
            await eventually(as_expected, within=5)
        return found

    async def has_forgotten(self, case: str) -> None:
        """It deletes when it has written down how far it is, which it does every half minute."""

        async def gone() -> bool:
            return await self.status(case) == "UNKNOWN"

        await eventually(gone, within=180)

    async def forget(self, case: str) -> None:
        """As its retention does."""
        await self._client.workflow_service.delete_workflow_execution(
            DeleteWorkflowExecutionRequest(
                namespace=self._client.namespace, workflow_execution=WorkflowExecution(workflow_id=case)
            )
        )


def troubles_of(history: WorkflowHistory) -> Counter[str]:
    seen: Counter[str] = Counter()
    for event in history.events:
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
            cause = event.workflow_task_failed_event_attributes.cause
            seen[WorkflowTaskFailedCause.Name(cause).removeprefix("WORKFLOW_TASK_FAILED_CAUSE_")] += 1
        elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT:
            seen["timed out"] += 1
    return seen

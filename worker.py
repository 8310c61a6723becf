"""What runs the workflows and activities: `python worker.py`. Any number may run side by side."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

import structlog
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities import schema
from activities.keys import check as check_keys
from activities.ledger import Ledger
from settings import TASK_QUEUE, House, Settings, configure_logs
from starter.calendar import schedules
from starter.calendar.almanac import Almanac
from starter.errands import errands
from starter.submissions import Submissions
from workflows import WORKFLOWS
from workflows.desk import Desk
from workflows.opening import OpeningWorkflow

THREADS = 16
TASKS = 8
"""Workflow tasks at once. They are Python, one at a time on the processor: more of them only miss their deadlines together (measured)."""

log = structlog.get_logger()

RUNNER = SandboxedWorkflowRunner(
    restrictions=SandboxRestrictions.default.with_passthrough_modules("models", "activities")
)
"""Workflow code runs in the sandbox; our data and activity classes are the same objects inside and out."""


def build(
    client: Client,
    ledger: Ledger,
    errands: Sequence[Callable[..., Any]] = (),
    *,
    task_queue: str = TASK_QUEUE,
    workflows: Sequence[type[Desk]] = WORKFLOWS,
    max_cached_workflows: int = 1000,
) -> Worker:
    """A worker for every process; the sticky timeout is short so that a killed worker's cases move on in seconds."""
    return Worker(
        client,
        task_queue=task_queue,
        workflows=[*workflows, OpeningWorkflow],
        activities=[ledger.record, ledger.fire, *errands],
        activity_executor=ThreadPoolExecutor(THREADS, thread_name_prefix="ledger"),
        max_concurrent_activities=THREADS,
        max_concurrent_local_activities=THREADS,
        max_concurrent_workflow_tasks=TASKS,
        max_cached_workflows=max_cached_workflows,
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=2),
        workflow_runner=RUNNER,
        build_id=version("kefu"),  # operators see the release; left out, the SDK hashes every loaded module at start
    )


async def run(settings: Settings) -> None:
    """Work until told to stop, then finish what is at hand."""
    house = House(settings)
    schema.check(house.database)
    try:
        check_keys(house.database, house.keys)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    client = await house.temporal(lazy=False)
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    ledger = Ledger(house.database, house.keys, house.people)
    submissions = Submissions(house.database, house.keys, house.people, lambda: datetime.now(UTC), settings.policy)
    almanac = Almanac(house, submissions, lambda: datetime.now(UTC))
    ours = errands(house, submissions, almanac, lambda: datetime.now(UTC))
    async with build(client, ledger, ours, max_cached_workflows=settings.max_cached_workflows):
        log.info("worker.ready", task_queue=TASK_QUEUE)
        making = asyncio.create_task(schedules.keep(client, almanac, TASK_QUEUE))
        await stop.wait()
        making.cancel()
    log.info("worker.stopped")


if __name__ == "__main__":
    configure_logs()
    asyncio.run(run(Settings()))

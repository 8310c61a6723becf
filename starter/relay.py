"""How submissions reach Temporal: one function for the doors and the relay, in the order of recording, each until it is decided."""

import asyncio
import secrets
from collections.abc import Callable
from datetime import timedelta
from time import monotonic
from typing import Any

import structlog
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError

from models.tasks import Outcome, Refusal
from starter.submissions import Delivery, Receipt, Submissions

ANSWER_WITHIN = 2.0
"""Seconds a door waits for Temporal's answer before it says "being processed"."""
SEND_WITHIN = timedelta(seconds=10)
AT_ONCE = 8
IDLE = 0.2

log = structlog.get_logger()


class Undelivered(Exception):
    """Temporal gave no answer: not refused, not taken, to be sent again."""


class Breaker:
    """Knows that the engine does not answer, so that the doors need not wait to find out. Lets one try through now and then."""

    def __init__(self, after: int = 3, probe_every: float = 5.0) -> None:
        self._after = after
        self._probe_every = probe_every
        self._failures = 0
        self._probe_at = 0.0

    def lets_through(self) -> bool:
        if self._failures < self._after:
            return True
        if monotonic() < self._probe_at:
            return False
        self._probe_at = monotonic() + self._probe_every
        return True

    def note(self, answered: bool) -> None:
        self._failures = 0 if answered else self._failures + 1
        if self._failures == self._after:
            self._probe_at = monotonic() + self._probe_every


class Relay:
    """Carries submissions from the ledger to Temporal and Temporal's answers back."""

    def __init__(self, submissions: Submissions, client: Client, task_queue: str) -> None:
        self._submissions = submissions
        self._client = client
        self._task_queue = task_queue
        self.breaker = Breaker()
        self._deliveries: set[asyncio.Task[None]] = set()

    async def send(self, commit: Callable[[], Receipt]) -> Receipt:
        """Commit a submission, then wait at most two seconds for what becomes of it. `pending` means: being processed."""
        receipt = await asyncio.to_thread(commit)
        if receipt.state != "pending":
            return receipt
        give_up = monotonic() + ANSWER_WITHIN
        if self.breaker.lets_through():
            await asyncio.wait({self._start_delivery(receipt.case)}, timeout=ANSWER_WITHIN)
            pause = 0.01
            while receipt.state == "pending" and monotonic() < give_up and self.breaker.lets_through():
                receipt = await asyncio.to_thread(self._look, receipt)
                if receipt.state == "pending":
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 0.1)
        if receipt.state != "pending":
            return receipt
        return _same_call(receipt, await asyncio.to_thread(self._submissions.defer, receipt.submission))

    def _look(self, receipt: Receipt) -> Receipt:
        return _same_call(receipt, self._submissions.receipt(receipt.submission))

    def _start_delivery(self, case: str) -> asyncio.Task[None]:
        """Deliver in a task of its own: the caller may stop waiting, the delivery goes on."""
        delivery = asyncio.create_task(self.deliver(case))
        self._deliveries.add(delivery)
        delivery.add_done_callback(self._deliveries.discard)
        return delivery

    async def deliver(self, case: str) -> None:
        """Send the case's undecided submissions, oldest first, each after the one before is decided."""
        holder = secrets.token_hex(4)
        while delivery := await asyncio.to_thread(self._submissions.next_of, case, holder):
            submission = delivery.submission.id
            try:
                refusal = await self._answer_to(case, delivery)
            except Undelivered as reason:
                if not await asyncio.to_thread(self._submissions.decide_from_ledger, submission):
                    log.warning("submission.undelivered", case=case, submission=submission, reason=str(reason))
                    self.breaker.note(answered=False)
                    await asyncio.to_thread(self._submissions.postpone, case, submission, holder)
                    return
            else:
                await asyncio.to_thread(self._submissions.decide, submission, refusal)
            self.breaker.note(answered=True)

    async def _answer_to(self, case: str, delivery: Delivery) -> Refusal | None:
        """Why the desk refused a submission, or None. Undelivered when there is no answer."""
        try:
            async with asyncio.timeout(SEND_WITHIN.total_seconds()):
                outcome = await self._send(case, delivery)
        except WorkflowUpdateFailedError as error:
            if isinstance(error.cause, ApplicationError) and error.cause.type == "Refused":
                return Refusal.model_validate(error.cause.details[0])
            raise Undelivered(f"the desk failed: {type(error.cause).__name__}") from error
        except WorkflowAlreadyStartedError as error:
            raise Undelivered("the engine has closed the case") from error
        except RPCError as error:
            raise Undelivered(error.status.name.lower()) from error
        except (WorkflowUpdateRPCTimeoutOrCancelledError, TimeoutError) as error:
            raise Undelivered("no answer in time") from error
        except RuntimeError as error:
            raise Undelivered("the engine cannot be reached") from error
        return outcome.refused

    async def _send(self, case: str, delivery: Delivery) -> Outcome:
        """As an update with the submission's id; the opening one as start and update in one, so that its answer, too, means the ledger shows it."""
        update: dict[str, Any] = {"id": delivery.submission.id, "result_type": Outcome, "rpc_timeout": SEND_WITHIN}
        outcome: Outcome
        if delivery.opened is None:
            handle = self._client.get_workflow_handle(case)
            outcome = await handle.execute_update("submit", delivery.submission, **update)
        else:
            bare = delivery.submission.model_copy(update={"outline": {}})  # the facts are in the start
            outcome = await self._client.execute_update_with_start_workflow(
                "submit", bare, start_workflow_operation=self._start(case, delivery), **update
            )
        return outcome

    def _start(self, case: str, delivery: Delivery) -> WithStartWorkflowOperation[Any, Any]:
        return WithStartWorkflowOperation(
            delivery.process,
            delivery.opened,
            id=case,
            task_queue=self._task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            task_timeout=timedelta(seconds=5),
        )

    async def run(self) -> None:
        """Deliver whatever waits, a few cases at once, until cancelled. Any number of relays may run side by side."""
        places = asyncio.Semaphore(AT_ONCE)
        under_way: set[str] = set()

        async def deliver(case: str) -> None:
            async with places:
                try:
                    await self.deliver(case)
                except Exception:
                    log.exception("relay.failed", case=case)
                finally:
                    under_way.discard(case)

        async with asyncio.TaskGroup() as group:
            while True:
                fresh = [case for case in await self._waiting() if case not in under_way]
                for case in fresh[: 4 * AT_ONCE - len(under_way)]:
                    under_way.add(case)
                    group.create_task(deliver(case))
                if not fresh or len(under_way) >= 4 * AT_ONCE:
                    await asyncio.sleep(IDLE)

    async def _waiting(self) -> list[str]:
        try:
            return await asyncio.to_thread(self._submissions.waiting, 8 * AT_ONCE)
        except Exception:
            log.exception("relay.cannot_read_ledger")
            return []


def _same_call(receipt: Receipt, later: Receipt) -> Receipt:
    return Receipt(later.submission, later.case, later.state, later.refusal, receipt.first)

"""How submissions reach Temporal: one function for the doors and the relay, in the order of recording, each until it is decided."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from time import monotonic
from typing import Any

import structlog
from sqlalchemy.exc import OperationalError
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from models.tasks import OPENING, REOPENING, Outcome, Refusal
from starter.docket import Delivery, Docket, Receipt

ANSWER_WITHIN = timedelta(seconds=1.8)
"""How long a door waits for Temporal's answer before it says "being processed"."""
SEND_WITHIN = timedelta(seconds=10)
"""How long Temporal may take for one delivery before it is tried again."""
AT_ONCE = 3
IDLE = 0.2

log = structlog.get_logger()


class Undelivered(Exception):
    """Temporal gave no answer: not refused, not taken, to be sent again."""


class TheDeskFailed(Undelivered):
    """The engine answered: the case's own desk is broken."""


class Gone(Undelivered):
    """Temporal does not run the case, or no more. Only then may the ledger decide: what it shows of a running case may be
    the trace of a killed worker, which the case itself does not know yet."""


class Breaker:
    """Knows that the engine does not answer, so that the doors need not wait to find out. Lets one try through now and then.

    It takes the silence of several cases: that of one, however often it is tried, is that case's own.
    """

    def __init__(self, after: int = 3, probe_every: float = 5.0) -> None:
        self._after = after
        self._probe_every = probe_every
        self._silent: set[str] = set()
        self._probe_at = 0.0

    def lets_through(self) -> bool:
        if len(self._silent) < self._after:
            return True
        if monotonic() < self._probe_at:
            return False
        self._probe_at = monotonic() + self._probe_every
        return True

    def note(self, case: str, answered: bool) -> None:
        if answered:
            self._silent.clear()
        elif case not in self._silent:
            self._silent.add(case)
            if len(self._silent) == self._after:
                self._probe_at = monotonic() + self._probe_every


class Relay:
    """Carries submissions from the ledger to Temporal and Temporal's answers back."""

    def __init__(self, docket: Docket, client: Client, task_queue: str) -> None:
        self._docket = docket
        self._client = client
        self._task_queue = task_queue
        self.answer_within = ANSWER_WITHIN
        self.send_within = SEND_WITHIN
        self.breaker = Breaker()
        self._deliveries: set[asyncio.Task[None]] = set()

    async def send(self, commit: Callable[[str | None], Receipt]) -> Receipt:
        """Commit a submission, then wait at most two seconds for what becomes of it. `pending` means: being processed.

        `commit` is given the name under which the case's lease may be taken along, or None when nobody is to wait.
        Once it has committed, nothing that goes wrong here makes it undone: the receipt says `pending`.
        """
        holder = secrets.token_hex(4) if self.breaker.lets_through() else None
        until = asyncio.get_running_loop().time() + self.answer_within.total_seconds()
        receipt = await asyncio.to_thread(commit, holder)
        if holder and receipt.state == "pending":
            with _whatever_happens(receipt), suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    receipt = await self._decided(receipt, holder)
        if receipt.first and receipt.state == "refused":
            with _whatever_happens(receipt):
                await asyncio.to_thread(self._docket.heard, receipt.submission)
        return receipt

    async def carry(self, *cases: str) -> None:
        """Deliver what waits in cases that a door has just written to, and wait for it as long as a door does. The relay does the rest."""
        if cases and self.breaker.lets_through():
            deliveries = {self._in_background(self.deliver(case)) for case in cases}
            await asyncio.wait(deliveries, timeout=self.answer_within.total_seconds())

    async def _decided(self, receipt: Receipt, holder: str) -> Receipt:
        """Deliver what we hold the lease for; look until it, or whoever else delivers, has decided the submission."""
        if receipt.delivery:
            await asyncio.wait({self._in_background(self.deliver(receipt.case, holder, receipt.delivery))})
        pause = 0.01
        while True:
            known = await asyncio.to_thread(self._docket.receipt, receipt.submission)
            if known.state != "pending" or not self.breaker.lets_through():
                return replace(known, first=receipt.first)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.1)

    def _in_background(self, delivery: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A delivery goes on when the caller stops waiting; where it fails, the relay takes over when the lease ends."""
        task = asyncio.create_task(delivery)
        self._deliveries.add(task)
        task.add_done_callback(self._note_end)
        return task

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._deliveries.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("delivery.failed", reason=type(error).__name__)

    async def deliver(self, case: str, holder: str | None = None, first: Delivery | None = None) -> None:
        """Send the case's undecided submissions, oldest first, each after the one before is decided."""
        holder = holder or secrets.token_hex(4)
        delivery = first or await asyncio.to_thread(self._docket.next_of, case, holder)
        while delivery:
            submission = delivery.submission.id
            try:
                refusal = await self._answer_to(case, delivery)
            except Undelivered as reason:
                ended, answered = isinstance(reason, Gone), isinstance(reason, Gone | TheDeskFailed)
                if not ended or not await asyncio.to_thread(self._docket.decide_without_engine, submission, holder):
                    level = log.error if ended else log.warning  # the ledger has an open case that nobody runs
                    level("submission.undelivered", case=case, submission=submission, reason=str(reason))
                    self.breaker.note(case, answered)
                    await asyncio.to_thread(self._docket.postpone, case, submission, holder)
                    return
                delivery = await asyncio.to_thread(self._docket.next_of, case, holder)
            else:
                self.breaker.note(case, answered=True)
                delivery = await asyncio.to_thread(self._docket.decide, submission, refusal, holder)

    async def _answer_to(self, case: str, delivery: Delivery) -> Refusal | None:
        """Why the desk refused a submission, or None. Undelivered when there is no answer."""
        try:
            async with asyncio.timeout(self.send_within.total_seconds()):
                outcome = await self._send(case, delivery)
        except WorkflowUpdateFailedError as error:
            if isinstance(error.cause, ApplicationError) and error.cause.type == "Refused":
                return Refusal.model_validate(error.cause.details[0])
            raise TheDeskFailed(f"the desk failed: {type(error.cause).__name__}") from error
        except WorkflowAlreadyStartedError as error:
            raise Gone("the engine has closed the case") from error
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise Gone("the engine does not run the case") from error
            raise Undelivered(error.status.name.lower()) from error
        except (WorkflowUpdateRPCTimeoutOrCancelledError, TimeoutError) as error:
            raise Undelivered("no answer in time") from error
        except RuntimeError as error:
            raise Undelivered("the engine cannot be reached") from error
        return outcome.refused

    async def _send(self, case: str, delivery: Delivery) -> Outcome:
        """As an update with the submission's id; the opening one as start and update in one, so that its answer, too, means the ledger shows it."""
        update: dict[str, Any] = {"id": delivery.submission.id, "result_type": Outcome, "rpc_timeout": self.send_within}
        outcome: Outcome
        if delivery.opened is None:
            handle = self._client.get_workflow_handle(case)
            outcome = await handle.execute_update("submit", delivery.submission, **update)
        else:
            sent, start = delivery.submission, self._start(case, delivery)
            if sent.form == OPENING:
                sent = sent.model_copy(update={"outline": {}})  # the facts are in the start
            started = asyncio.create_task(_looked_at(start))
            try:
                outcome = await self._client.execute_update_with_start_workflow(
                    "submit", sent, start_workflow_operation=start, **update
                )
            finally:
                started.cancel()
        return outcome

    def _start(self, case: str, delivery: Delivery) -> WithStartWorkflowOperation[Any, Any]:
        """A case that has ended in the engine is started again only for what opens it again."""
        is_back = delivery.submission.form == REOPENING
        reuse = WorkflowIDReusePolicy.ALLOW_DUPLICATE if is_back else WorkflowIDReusePolicy.REJECT_DUPLICATE
        return WithStartWorkflowOperation(
            delivery.process,
            delivery.opened,
            id=case,
            task_queue=self._task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=reuse,
            task_timeout=timedelta(seconds=5),
        )

    async def run(self) -> None:
        """Deliver whatever waits, a few cases at once, until cancelled. Any number of relays may run side by side."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._lane(again=False))
            group.create_task(self._lane(again=True))  # what was tried in vain waits apart, and holds up nothing new

    async def _lane(self, again: bool) -> None:
        under_way: dict[str, asyncio.Task[None]] = {}
        while True:
            for case in await self._waiting(again):
                if case not in under_way and len(under_way) < AT_ONCE:
                    under_way[case] = self._in_background(self.deliver(case))
            if under_way:
                await asyncio.wait(under_way.values(), timeout=IDLE, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(IDLE)
            under_way = {case: delivery for case, delivery in under_way.items() if not delivery.done()}

    async def _waiting(self, again: bool) -> list[str]:
        try:
            return await asyncio.to_thread(self._docket.waiting, 2 * AT_ONCE, again)
        except OperationalError as error:
            log.warning("relay.cannot_read_ledger", reason=type(error.orig).__name__)
            return []


@contextmanager
def _whatever_happens(receipt: Receipt) -> Iterator[None]:
    """What is committed stays so, whatever fails while we wait for its answer: the relay delivers it."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 — its message may quote what somebody sent: the kind is logged, no more
        log.warning("answer.failed", case=receipt.case, submission=receipt.submission, reason=type(error).__name__)


async def _looked_at(start: WithStartWorkflowOperation[Any, Any]) -> None:
    """The operation's own future fails as the update does; asyncio would complain that nobody looked."""
    with suppress(Exception):
        await start.workflow_handle()

"""A made-up day of submissions, so that a desk on its first morning has something to show."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from pydantic import BaseModel, ConfigDict

from models.organisation import Who
from models.people import Person
from starter.docket import Docket, Receipt
from starter.refusals import NotFound, Refused
from starter.relay import Relay
from starter.submissions import Submissions
from workflows import PROCESSES

FILE = Path(__file__).with_name("sample.toml")
PROCESS = PROCESSES["complaint"]

log = structlog.get_logger()


class _Sent(BaseModel):
    """Who sends what; every other field is the form's."""

    model_config = ConfigDict(extra="allow")
    by: str

    @property
    def fields(self) -> dict[str, Any]:
        return self.model_extra or {}


class SampleForm(_Sent):
    """A form handed in right after its case was opened."""

    form: str


class SampleSubmission(_Sent):
    """A case, received so long ago, and what was handed in for it since."""

    form_no: str
    age: timedelta
    forms: list[SampleForm] = []

    @property
    def key(self) -> str:
        """The opening submission's id: the same row is never opened twice, whatever its `received_at` has become."""
        return f"sample-{self.form_no}"

    def facts(self, now: datetime) -> dict[str, Any]:
        return {**self.fields, "form_no": self.form_no, "received_at": now - self.age}


def rows() -> list[SampleSubmission]:
    """The day as the file has it, the longest ago first."""
    return [SampleSubmission.model_validate(row) for row in tomllib.loads(FILE.read_text("utf-8"))["submission"]]


async def fill(
    submissions: Submissions,
    docket: Docket,
    relay: Relay,
    people: Who,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> int:
    """Send the day through the same functions as every door. Returns how many cases this call opened.

    Filling again opens nothing twice and goes on where an interrupted one stopped. A row that the directory or the
    ledger does not fit is left out; it never stops the others.
    """
    desk = _Desk(submissions, docket, relay, people, clock)
    opened = 0
    for row in rows():
        try:
            receipt = await desk.open(row)
            opened += receipt.first
            for form in row.forms:
                await desk.hand_in(row, form, receipt.case)
        except Refused as refused:
            log.warning("sample.left_out", number=row.form_no, reason=refused.code)
    log.info("sample.filled", opened=opened)
    return opened


@dataclass(frozen=True)
class _Desk:
    submissions: Submissions
    docket: Docket
    relay: Relay
    people: Who
    clock: Callable[[], datetime]

    async def open(self, row: SampleSubmission) -> Receipt:
        try:
            return self.docket.receipt(row.key)
        except NotFound:
            facts = PROCESS.case.model_validate(row.facts(self.clock()))
            by = self._known(row.by)
            return await self.relay.send(
                lambda holder: self.submissions.open(PROCESS, facts, by, key=row.key, holder=holder)
            )

    async def hand_in(self, row: SampleSubmission, sent: SampleForm, case: str) -> None:
        """Under a key of its own: known already, it is not sent again; no longer owed, the desk says so."""
        form = PROCESS.submittable[sent.form].model_validate(sent.fields)
        key = f"{row.key}-{sent.form}"
        by = self._known(sent.by)
        receipt = await self.relay.send(
            lambda holder: self.submissions.hand_in(PROCESS, case, form, by, key=key, holder=holder)
        )
        if receipt.refusal:
            log.info("sample.refused", case=case, form=sent.form, reason=receipt.refusal.code)

    def _known(self, id: str) -> Person:
        person = self.people.person(id)
        if person is None:
            raise NotFound("unknown_person", person=id)
        return person

"""Those who send: OA and staff over HTTP. They repeat what got no answer, write down what was acknowledged, and look whether it shows."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

from httpx2 import AsyncClient, Response, TransportError

from tests.fire.plan import Life, Step

PATIENCE = 120.0
"""Seconds after which a sender gives up; the rig counts that."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 4.0
AT_ONCE = 40
"""Complaints that are worked on at the same time; the next ones wait, as a department would let them."""
TAKEN = (200, 201, 202)
SHOWS = ("opened", "done", "moved", "reassigned")
"""The events by which a case shows that it took a submission."""


class Journal:
    """What the senders saw, a line each: `answer`, `trouble`, `unseen`, `gave_up`; and what the rig did, `fault`."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._open = file.open("a", buffering=1)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def note(self, what: str, **values: Any) -> None:
        self._open.write(json.dumps({"what": what, "at": datetime.now(UTC).isoformat(), **values}) + "\n")


class Sender:
    """One client, who speaks for everybody."""

    def __init__(self, http: AsyncClient, journal: Journal) -> None:
        self._http = http
        self._journal = journal
        self._places = asyncio.Semaphore(AT_ONCE)

    async def live(self, life: Life, begin: float) -> None:
        """A complaint from its receipt on."""
        await asyncio.sleep(max(0.0, begin + life.at - monotonic()))
        async with self._places:
            received = datetime.now(UTC) - timedelta(seconds=life.ago)
            for case in await self.open(life.number, life.store, life.by, received, life.copies):
                work = (self._work_on(case, life.number, nth, strand) for nth, strand in enumerate(life.strands))
                await asyncio.gather(*work)

    async def open(self, number: str, store: str, by: str, received: datetime, copies: int = 1) -> set[str]:
        """Open a case, in several copies at once. The cases that were answered: one, if all is well."""
        facts = {
            "form_no": number,
            "kind": "complaint",
            "channel": "oa",
            "store": store,
            "content": "羽绒服穿了两次就跑绒",
            "customer": {"name": "甲女士", "phone": "13800000001"},
            "received_at": received.isoformat(),
        }
        said = await self._all("/api/cases/complaint", facts, by, copies, number=number, form="open", key=None)
        return {answer["case"] for answer in said if answer}

    async def hand_in(self, case: str, number: str, key: str, step: Step) -> None:
        body = dict(step.body)
        if seconds := body.pop("due_in", None):
            body["due_at"] = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
        path = f"/api/cases/complaint/{case}/{step.form}"
        await self._all(path, body, step.by, step.copies, number=number, form=step.form, key=key, case=case)

    async def _work_on(self, case: str, number: str, who: int, strand: tuple[Step, ...]) -> None:
        for nth, step in enumerate(strand):
            await asyncio.sleep(step.wait)
            await self.hand_in(case, number, f"{number}.{who}.{nth}.{step.form}", step)

    async def _all(self, path: str, body: Any, by: str, copies: int, **what: Any) -> list[dict[str, Any] | None]:
        return await asyncio.gather(*(self._send(path, body, by, **what) for _ in range(copies)))

    async def _send(self, path: str, body: Any, by: str, **what: Any) -> dict[str, Any] | None:
        """Send until there is an answer other than "not now"; the case it shows, None where it was refused."""
        headers = {"X-Kefu-Actor": by} | ({"Idempotency-Key": what["key"]} if what["key"] else {})
        end, pause, tries = monotonic() + PATIENCE, FIRST_PAUSE, 0
        while monotonic() < end:
            begin, tries = monotonic(), tries + 1
            try:
                answer = await self._http.post(path, json=body, headers=headers)
            except TransportError as error:
                self._journal.note("trouble", said=type(error).__name__, took=monotonic() - begin, **what)
            else:
                said = self._noted(answer, by, begin, tries, what)
                if answer.status_code < 500:
                    if answer.status_code not in TAKEN:
                        return None
                    await self._see(said, answer.status_code, by)
                    return said
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        self._journal.note("gave_up", tries=tries, **what)
        return None

    def _noted(self, answer: Response, by: str, begin: float, tries: int, what: dict[str, Any]) -> dict[str, Any]:
        said: dict[str, Any] = answer.json() if "json" in answer.headers.get("content-type", "") else {}
        seen = {
            "status": answer.status_code,
            "code": said.get("code"),
            "by": by,
            "tries": tries,
            "submission": said.get("submission"),
            "state": said.get("submission_state"),
            "retry_after": answer.headers.get("retry-after"),
        }
        case = {"case": said["case"]} if "case" in said else {}
        self._journal.note("answer", took=monotonic() - begin, **{**what, **seen, **case})
        return said

    # Read your writes

    async def _see(self, said: dict[str, Any], status: int, by: str) -> None:
        """What was acknowledged shows, in the answer itself and to whoever looks afterwards."""
        submission = said["submission"]
        shown = await self._get(f"/api/cases/{said['case']}", by)
        for where, case in (("answer", said), ("case", shown)):
            if status != 202 and not has_taken(case, submission):
                self._unseen(said, status, where, shows(case, submission))
            elif status == 202 and not (has_taken(case, submission) or waits(case, submission)):
                row = await self._get(f"/api/submissions/{submission}", by)
                if row.get("state") != "refused":
                    self._unseen(said, status, where, f"{shows(case, submission)}, {row.get('state')}")

    def _unseen(self, said: dict[str, Any], status: int, where: str, shows: str) -> None:
        values = {"case": said["case"], "submission": said["submission"]}
        self._journal.note("unseen", status=status, where=where, shows=shows, **values)

    async def _get(self, path: str, by: str) -> dict[str, Any]:
        end = monotonic() + PATIENCE
        while True:
            try:
                answer = await self._http.get(path, headers={"X-Kefu-Actor": by})
                if answer.status_code < 500:
                    looked: dict[str, Any] = answer.json()
                    return looked
                self._journal.note("answer", status=answer.status_code, code=answer.json().get("code"), form="look")
            except TransportError as error:
                self._journal.note("trouble", said=type(error).__name__, form="look")
            if monotonic() > end:
                return {}
            await asyncio.sleep(FIRST_PAUSE)


def has_taken(case: dict[str, Any], submission: str) -> bool:
    """The case shows what the submission did, and no more that it waits."""
    happened = any(e["submission"] == submission and e["kind"] in SHOWS for e in case.get("timeline", []))
    return happened and not waits(case, submission)


def waits(case: dict[str, Any], submission: str) -> bool:
    return any(row["submission"] == submission for row in case.get("pending", [])) and case.get("processing") is True


def shows(case: dict[str, Any], submission: str) -> str:
    kinds = [event["kind"] for event in case.get("timeline", []) if event["submission"] == submission]
    return f"events {kinds}, waits {waits(case, submission)}, {len(case.get('timeline', []))} in all"

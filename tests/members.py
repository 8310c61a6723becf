"""The chain's member system, as the stories play it: it signs what it sends; and the clerks who audit."""

import json
from datetime import UTC, datetime
from itertools import count
from typing import Any

from httpx2 import ASGITransport, AsyncClient, Response
from pydantic import SecretStr
from sqlmodel import col, select
from standardwebhooks import Webhook

from models.members import MemberRecord
from models.tables import AuditLineRow, CaseRow, MemberRow, SubmissionRow
from tests.office import DAY, Office

SECRET = "whsec_c3RvcmllcyBhcmUgdG9sZCBpbiB0aGUgb3Blbg=="
_NUMBERS = count(1)


def record(n: int | None = None, **facts: Any) -> dict[str, Any]:
    """A whole record of somebody new; what is given as None is not said."""
    n = n or next(_NUMBERS)
    whole = {
        "member_no": f"HY{n:08d}",
        "version": 1,
        "store": "SH01",
        "card_no": f"66{n:08d}",
        "name": "李晓雨",
        "gender": "女",
        "birth_date": "1990-05-17",
        "phone": f"138{n:08d}",
        "address": "上海市南京东路 1 号",
        "joined_on": "2026-11-20",
        "valid_from": "2026-11-20",
        "valid_through": "2027-11-19",
        "consent": "是",
        **facts,
    }
    return {name: value for name, value in whole.items() if value is not None}


def signed(message: dict[str, Any], id: str, at: datetime | None = None, secret: str = SECRET) -> dict[str, Any]:
    """Body and headers of a message, as Standard Webhooks has them."""
    at = at or datetime.now(UTC)
    body = json.dumps(message, ensure_ascii=False)
    return {
        "content": body.encode(),
        "headers": {
            "webhook-id": id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(secret).sign(id, at, body),
        },
    }


class MemberSystem:
    """Fuxi, and what came of what it sent."""

    def __init__(self, office: Office) -> None:
        office.house.settings.member_secret = SecretStr(SECRET)
        self.office = office
        self._door = ASGITransport(office.app, raise_app_exceptions=False)

    def door(self, actor: str | None = None) -> AsyncClient:
        """The HTTP door, with somebody at it."""
        who = {"X-Kefu-Actor": actor} if actor else {}
        return AsyncClient(transport=self._door, base_url="http://testserver", headers=who)

    async def posts(self, kind: str, data: dict[str, Any], id: str | None = None) -> Response:
        async with self.door() as door:
            message = signed({"type": kind, "data": data}, id or f"msg-{next(_NUMBERS)}")
            return await door.post("/api/members/webhook", **message)

    async def sends(self, data: dict[str, Any], id: str | None = None) -> dict[str, Any]:
        """A member, taken and, where it opened or moved a case, delivered."""
        answer = await self.posts("member", data, id)
        assert answer.status_code == 200, answer.text
        await self.delivered()
        return answer.json()

    async def sells(self, data: dict[str, Any]) -> dict[str, Any]:
        answer = await self.posts("purchase", data)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def delivered(self) -> None:
        """What the relay does: everything that is undecided goes to the engine."""
        with self.office.house.database.reading() as session:
            waiting = set(session.exec(select(SubmissionRow.case_id).where(SubmissionRow.state == "pending")))
        for case in sorted(waiting):
            await self.office.relay.deliver(case)

    def member(self, id: str) -> MemberRow:
        with self.office.house.database.reading() as session:
            return session.get_one(MemberRow, id)

    def lines(self, case: str) -> dict[str, str]:
        """The lines of a list: member -> state."""
        with self.office.house.database.reading() as session:
            rows = session.exec(select(AuditLineRow).where(AuditLineRow.case_id == case))
            return {row.member_id: row.state for row in rows}

    def cases(self, process: str) -> list[CaseRow]:
        with self.office.house.database.reading() as session:
            query = select(CaseRow).where(CaseRow.process == process).order_by(col(CaseRow.number))
            return list(session.exec(query))

    async def hand_in(self, case: str, form: str, by: str = "lin", **fields: Any) -> Response:
        """At the HTTP door; whatever else it moved is delivered, too."""
        async with self.door(by) as door:
            answer = await door.post(f"/api/cases/{case.partition('-')[0]}/{case}/{form}", json=fields)
        await self.delivered()
        return answer

    async def looks(self, path: str, by: str = "lin", **query: Any) -> Any:
        async with self.door(by) as door:
            answer = await door.get(f"/api/members/{path}", params=query)
            assert answer.status_code == 200, answer.text
            return answer.json()


def as_record(**facts: Any) -> MemberRecord:
    return MemberRecord.model_validate(record(**facts))


# Stories whose histories are kept


async def a_days_list_with_a_line_rejected(office: Office) -> str:
    fuxi = MemberSystem(office)
    day = (await fuxi.sends(record()))["case"]
    bad = await fuxi.sends(record(name="测试"))
    await fuxi.hand_in(day, "reject", member=bad["member"], fields=["name"], note="不是人名")
    await office.pass_time(3 * DAY)
    await fuxi.hand_in(day, "check", lines=1)
    assert office.case(day).state == "archived"
    return day


async def a_member_completed_at_the_third_attempt(office: Office) -> str:
    """Late, then incomplete, then rejected by the auditor: everybody of the ladder hears."""
    fuxi = MemberSystem(office)
    case = (await fuxi.sends(record(phone=None, name=None)))["case"]
    await office.pass_time(3 * DAY)
    await fuxi.hand_in(case, "supplement", by="oa-sh01", name="李")
    await fuxi.hand_in(case, "supplement", by="oa-sh01", phone="13900001111")
    [day] = fuxi.cases("audit_list")
    await fuxi.hand_in(case, "review", by="wang", accepted=False, fields=["name"])
    await fuxi.hand_in(case, "supplement", by="oa-sh01", name="李小雨")
    assert office.tasks(case)["review-2"].state == "open"
    assert (await fuxi.hand_in(day.id, "check", lines=1)).status_code == 200
    assert office.case(case).state == "archived"
    return case


AUDITS = [a_days_list_with_a_line_rejected, a_member_completed_at_the_third_attempt]

"""The doors of the register of members.

Annotations here are evaluated when a route is made: no `from __future__ import annotations`.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request

from models.forms import Code
from models.words import language_of
from starter.customers import Said
from starter.front import Front
from starter.members import webhook
from starter.members.shelf import (
    Completenesses,
    FoundMembers,
    LineQuery,
    Lines,
    MemberView,
    MemberViews,
    MemberWanted,
    Period,
    note_search,
)
from starter.refusals import NotFound

MemberId = Annotated[Code, Path(description="会员在本系统的编号 · the member's id here")]
CaseId = Annotated[Code, Path(description="名单的工单编号 · the list's case")]
BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"oneOf": [kind.model_json_schema() for kind in webhook.MESSAGES.values()]},
        }
    },
}


def add_routes(router: APIRouter, front: Front, who: Any) -> None:
    """The doors of this module."""
    secret = front.house.settings.member_secret

    @router.post(
        "/members/webhook",
        tags=["members"],
        summary="会员系统推送 · what the member system sends, signed as Standard Webhooks has it",
        openapi_extra={"requestBody": BODY},
    )
    async def take_message(request: Request) -> webhook.Answer:
        if secret is None:
            raise NotFound("not_found")
        body = await request.body()
        message_id = webhook.verified(secret.get_secret_value(), request.headers, body)
        message = webhook.read(body)
        return await front.write(
            lambda session, now: webhook.take(session, now, front.audits, front.receipts, message_id, message)
        )

    @router.post("/members/search", tags=["members"], summary="按会员号、卡号、电话查找会员 · a member by a number")
    async def find_member(wanted: MemberWanted, by: who, language: Said = None) -> FoundMembers:
        kind, _ = wanted.finder
        found = await front.look(by, lambda views: MemberViews(views).found(wanted, language_of(language)))
        await front.write(lambda session, now: note_search(session, now, by, kind, len(found.items)))
        return found

    @router.get("/members/completeness", tags=["members"], summary="各店首次完整率 · how complete records come first")
    async def show_completeness(by: who, period: Annotated[Period, Query()], language: Said = None) -> Completenesses:
        return await front.look(by, lambda views: MemberViews(views).completeness(period, language_of(language)))

    @router.get("/members/lists/{case}", tags=["members"], summary="当日新会员名单 · the lines of a day's list")
    async def show_list(case: CaseId, by: who, wanted: Annotated[LineQuery, Query()], language: Said = None) -> Lines:
        said = language_of(language)
        return await front.look(by, lambda views: MemberViews(views).lines(case, **dict(wanted), language=said))

    @router.get("/members/{member}", tags=["members"], summary="会员 · a member, and who audited him")
    async def show_member(member: MemberId, by: who) -> MemberView:
        return await front.look(by, lambda views: MemberViews(views).member(member))

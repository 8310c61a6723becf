"""The doors of the months' lists. Annotations are evaluated when a route is made: no `from __future__ import annotations`."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from models.forms import Code
from models.words import language_of
from starter.customers import Said
from starter.expiry.views import ExpiryPage, ExpiryQuery, ExpiryViews, MonthPage, Script
from starter.front import Front
from starter.pages import Part
from starter.papers.doors import PRIVATE, XLSX, named
from starter.views import Views

Month = Annotated[
    str,
    Path(pattern=r"^\d{4}-(0[1-9]|1[0-2])$", description="到期月份，如 2027-01 · the month in which the cards expire"),
]


def add_routes(router: APIRouter, front: Front, who: Any) -> None:
    """The doors of this module."""

    @router.get(
        "/expiry", tags=["expiry"], summary="历月到期会员名单 · the lists of expiring members, the latest first"
    )
    async def list_months(by: who, part: Annotated[Part, Query()]) -> MonthPage:
        return await front.look(by, lambda views: ExpiryViews(views).months(**dict(part)))

    @router.get("/expiry/{month}", tags=["expiry"], summary="到期会员名单 · a month's expiring members and their calls")
    async def show_list(
        month: Month, by: who, wanted: Annotated[ExpiryQuery, Query()], language: Said = None
    ) -> ExpiryPage:
        spoken = language_of(language)
        return await front.look(by, lambda views: ExpiryViews(views).members(month, **dict(wanted), language=spoken))

    @router.get(
        "/expiry/{month}/list.xlsx",
        tags=["expiry"],
        summary="归档的名单；calls 为带去电情况的现状 · the list as it was archived, or with the calls until now, Excel",
        response_class=Response,
    )
    async def archived_list(month: Month, by: who, calls: bool = False, language: Said = None) -> Response:
        spoken = language_of(language)

        def look(views: Views) -> bytes:
            seen = ExpiryViews(views)
            return seen.with_calls(month, spoken) if calls else seen.archived(month)

        book = await front.look(by, look)
        headers = PRIVATE | {"Content-Disposition": named(f"expiry-{month}.xlsx", "attachment")}
        return Response(book, media_type=XLSX, headers=headers)

    @router.post(
        "/expiry/{month}/anyway",
        tags=["expiry"],
        status_code=202,
        summary="不等会员系统，按现有资料生成名单 · make the list of what is known",
    )
    async def make_anyway(month: Month, by: who) -> dict[str, str]:
        await asyncio.to_thread(front.expiry_lists.make_anyway, month, by)
        return {"month": month}

    @router.get("/cases/{case}/script", tags=["expiry"], summary="电话要点 · what to tell the member of a notice")
    async def show_script(
        case: Annotated[Code, Path(description="工单编号 · the case's id")], by: who, language: Said = None
    ) -> Script:
        spoken = language_of(language)
        return await front.look(by, lambda views: ExpiryViews(views).script(case, spoken))

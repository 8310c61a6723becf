"""The doors of the post room.

Annotations here are evaluated when a route is made: no `from __future__ import annotations`.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from starter.front import Front
from starter.pages import Page
from starter.post.status import DeliveryView, PostLine, PostQuery, PostViews

NoticeId = Annotated[int, Path(ge=1, le=2**31 - 1, description="消息编号 · the notice's number")]


def add_routes(router: APIRouter, front: Front, who: Any) -> None:
    """The doors of this module."""

    @router.get("/notices/{notice}/deliveries", tags=["post"], summary="消息的外发情况 · where a notice went")
    async def list_deliveries(notice: NoticeId, by: who) -> list[DeliveryView]:
        return await front.look(by, lambda views: PostViews(views).deliveries(notice))

    @router.get("/post", tags=["post"], summary="外发情况 · how everybody is reached, and what waits")
    async def show_post(by: who, wanted: Annotated[PostQuery, Query()]) -> Page[PostLine]:
        return await front.look(by, lambda views: PostViews(views).post(**dict(wanted)))

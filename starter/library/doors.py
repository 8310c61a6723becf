"""The doors of the case library.

Annotations here are evaluated when a route is made: no `from __future__ import annotations`.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from sqlmodel import Session

from models.forms import Code
from models.people import Person
from models.words import language_of
from starter.customers import Said
from starter.front import Front
from starter.library.entries import ChangedEntry, NewEntry, Removal, add, change, mark_off, remove
from starter.library.shelf import Agenda, Entries, LibraryQuery, LibraryViews, WholeEntry
from starter.pages import Part

EntryId = Annotated[int, Path(ge=1, le=2**31 - 1, description="案例编号 · the entry's number")]


def add_routes(router: APIRouter, front: Front, who: Any) -> None:
    """The doors of this module."""
    keys = front.house.keys

    async def written(by: Person, act: Callable[[Session, datetime], int]) -> WholeEntry:
        entry = await front.write(act)
        return await front.look(by, lambda views: LibraryViews(views).entry(entry))

    @router.post("/library", tags=["library"], status_code=201, summary="收入案例 · add an entry to the case library")
    async def add_entry(new: NewEntry, by: who, response: Response) -> WholeEntry:
        entry = await written(by, lambda session, now: add(session, now, keys, by, new))
        response.headers["Location"] = f"/api/library/{entry.entry}"
        return entry

    @router.get("/library", tags=["library"], summary="查找案例 · entries of the case library, the best first")
    async def list_entries(by: who, wanted: Annotated[LibraryQuery, Query()], language: Said = None) -> Entries:
        spoken = language_of(language)
        return await front.look(by, lambda views: LibraryViews(views).entries(**dict(wanted), language=spoken))

    @router.get("/library/agenda", tags=["library"], summary="周五例会议题 · what waits for the Friday meeting")
    async def show_agenda(by: who, part: Annotated[Part, Query()], language: Said = None) -> Agenda:
        spoken = language_of(language)
        return await front.look(by, lambda views: LibraryViews(views).agenda(**dict(part), language=spoken))

    @router.get("/library/{entry}", tags=["library"], summary="案例 · an entry and all its versions")
    async def show_entry(entry: EntryId, by: who) -> WholeEntry:
        return await front.look(by, lambda views: LibraryViews(views).entry(entry))

    @router.put("/library/{entry}", tags=["library"], summary="修改案例 · change an entry")
    async def change_entry(entry: EntryId, changed: ChangedEntry, by: who) -> WholeEntry:
        return await written(by, lambda session, now: change(session, now, keys, by, entry, changed))

    @router.post("/library/{entry}/discussed", tags=["library"], summary="例会已讨论 · the meeting has discussed it")
    async def discussed(entry: EntryId, by: who) -> WholeEntry:
        return await written(by, lambda session, now: mark_off(session, now, by, entry))

    @router.post("/library/{entry}/remove", tags=["library"], summary="移除案例 · remove an entry, with the reason")
    async def remove_entry(entry: EntryId, why: Removal, by: who) -> WholeEntry:
        return await written(by, lambda session, now: remove(session, now, keys, by, entry, why.reason))

    @router.get("/cases/{case}/similar", tags=["library"], summary="相似案例 · entries like this case")
    async def list_similar(
        case: Annotated[Code, Path(description="工单编号 · the case's id")],
        by: who,
        limit: Annotated[int, Query(ge=1, le=20)] = 5,
        language: Said = None,
    ) -> Entries:
        spoken = language_of(language)
        return await front.look(by, lambda views: LibraryViews(views).similar(case, limit=limit, language=spoken))

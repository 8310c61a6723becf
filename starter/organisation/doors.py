"""The doors of the organisation: who works here, who is away, what goes to whom meanwhile.

Annotations here are evaluated when a route is made: no `from __future__ import annotations`.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session

from models.forms import Instant
from models.organisation import Directory
from models.people import Person
from starter.front import Front
from starter.organisation import hand_over, versions
from starter.organisation.versions import MAY_READ, Change, Version
from starter.refusals import Forbidden, NotFound
from workflows import PROCESSES

PersonId = Annotated[str, Path(max_length=64, description="工号 · a staff number")]
Preview = Annotated[bool, Query(description="只看变化，不生效 · shows what would change, and changes nothing")]
Instead = Annotated[
    int | None, Query(ge=0, description="在哪一版上修改 · the version it is made from; another one meanwhile is 409")
]


class Organisation(BaseModel):
    """The organisation as it holds, and its version; 0 while it is the file's."""

    version: int
    organisation: Directory


class Applied(BaseModel):
    """What changed, or would."""

    version: int
    applied: bool
    changes: list[Change]


class Away(BaseModel):
    """Somebody will be away."""

    model_config = ConfigDict(extra="forbid")

    person: str = Field(max_length=64)
    since: Instant
    until: Instant
    deputy: str | None = Field(default=None, max_length=64)


class Note(BaseModel):
    """Why tasks change hands: everybody concerned reads it."""

    model_config = ConfigDict(extra="forbid")

    note: str = Field(min_length=1, max_length=1000)


class HandOverList(BaseModel):
    """What somebody still owes, and what has gone to others while he is away."""

    person: str
    since: datetime
    until: datetime
    items: list[hand_over.Handed]


async def change(
    front: Front,
    by: Person,
    what: str,
    made: Callable[[dict[str, Any]], dict[str, Any]],
    preview: bool,
    instead_of: int | None,
) -> Applied:
    """Make the next version of the one that holds: whole and validated, or not at all."""
    organisation = front.house.people

    def act(session: Session, now: datetime) -> Applied:
        last = versions.latest(session)
        before = organisation.version(session, last) if last else organisation.now
        after = versions.validated(made(before.model_dump(mode="json")))
        changes = versions.differences(before, after)
        if preview or not changes:
            if by.role not in versions.MAY_CHANGE:
                raise Forbidden("may_not_organise", role=by.role)
            return Applied(version=last, applied=False, changes=changes)
        version = versions.keep(session, front.house.keys, after, by, what, now, instead_of)
        return Applied(version=version, applied=True, changes=changes)

    applied = await front.write(act)
    organisation.refresh()
    return applied


async def end_of_absence(front: Front, by: Person, person: str) -> Applied:
    """Somebody is back before the time: his absence ends now, and one that was to come is gone."""
    now = front.now()

    def made(document: dict[str, Any]) -> dict[str, Any]:
        kept = [one for one in document["absences"] if not _holds(one, person, now)]
        if len(kept) == len(document["absences"]):
            raise NotFound("not_away", person=front.house.people.name(person))
        past = [one for one in document["absences"] if one not in kept and datetime.fromisoformat(one["since"]) < now]
        document["absences"] = kept + [{**one, "until": now.isoformat()} for one in past]
        return document

    return await change(front, by, "absence", made, False, None)


def add_routes(router: APIRouter, front: Front, who: Any) -> None:
    """The doors of this module."""

    def may_read(by: Person) -> None:
        if by.role not in MAY_READ:
            raise Forbidden("may_not_organise", role=by.role)

    @router.get("/organisation", tags=["organisation"], summary="组织 · people, stores, rosters, absences")
    async def show_organisation(by: who) -> Organisation:
        may_read(by)
        front.house.people.refresh()
        version = await front.look(by, lambda views: versions.latest(views.session))
        return Organisation(version=version, organisation=versions.seen_by(by, front.house.people.now))

    @router.put("/organisation", tags=["organisation"], summary="更换组织 · replace the whole of it")
    async def put_organisation(
        whole: Directory, by: who, preview: Preview = False, instead_of: Instead = None
    ) -> Applied:
        return await change(front, by, "loaded", lambda _: whole.model_dump(mode="json"), preview, instead_of)

    @router.patch(
        "/organisation/people/{person}", tags=["organisation"], summary="修改一人 · change one person, or add him"
    )
    async def patch_person(
        person: PersonId, fields: dict[str, Any], by: who, preview: Preview = False, instead_of: Instead = None
    ) -> Applied:
        def made(document: dict[str, Any]) -> dict[str, Any]:
            known = next((one for one in document["people"] if one["id"] == person), None)
            if known is None:
                document["people"].append({"id": person, **fields})
            else:
                known.update({**fields, "id": person})
            return document

        return await change(front, by, "person", made, preview, instead_of)

    @router.get(
        "/organisation/history", tags=["organisation"], summary="组织的历次修改 · its versions, the latest first"
    )
    async def show_history(
        by: who,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        before: Annotated[
            int | None, Query(ge=1, le=2**31 - 1, description="早于哪一版 · versions before this one")
        ] = None,
    ) -> list[Version]:
        may_read(by)
        read = front.house.people.version
        return await front.look(by, lambda views: versions.history(views.session, by, read, limit, before))

    @router.post(
        "/organisation/absences", tags=["organisation"], status_code=201, summary="请假 · somebody will be away"
    )
    async def add_absence(away: Away, by: who) -> Applied:
        def made(document: dict[str, Any]) -> dict[str, Any]:
            document["absences"].append(away.model_dump(mode="json"))
            return document

        return await change(front, by, "absence", made, False, None)

    @router.post("/organisation/absences/{person}/end", tags=["organisation"], summary="销假 · he is back")
    async def end_absence(person: PersonId, by: who) -> Applied:
        return await end_of_absence(front, by, person)

    @router.get("/organisation/absences/{person}/hand-over", tags=["organisation"], summary="交接清单 · what he owes")
    async def show_hand_over(person: PersonId, by: who) -> HandOverList:
        may_read(by)
        directory, now = front.house.people.now, front.now()
        absence = hand_over.absence_of(directory, person, now)
        items = await front.look(by, lambda views: hand_over.listed(views.session, directory, absence, now))
        return HandOverList(person=person, since=absence.since, until=absence.until, items=items)

    async def moved(person: str, by: Person, note: str, act: Any) -> list[hand_over.Handed]:
        directory = front.house.people.now
        absence = hand_over.absence_of(directory, person, front.now())
        items: list[hand_over.Handed] = await front.write(
            lambda session, at: act(session, front.submissions, PROCESSES, directory, absence, by, note, at)
        )
        return items

    @router.post(
        "/organisation/absences/{person}/hand-over", tags=["organisation"], summary="一并交接 · all he owes, in one act"
    )
    async def do_hand_over(person: PersonId, why: Note, by: who) -> list[hand_over.Handed]:
        return await moved(person, by, why.note, hand_over.hand_over)

    @router.post(
        "/organisation/absences/{person}/give-back",
        tags=["organisation"],
        summary="交还 · what is still open, back to him",
    )
    async def do_give_back(person: PersonId, why: Note, by: who) -> list[hand_over.Handed]:
        return await moved(person, by, why.note, hand_over.give_back)


def _holds(absence: dict[str, Any], person: str, now: datetime) -> bool:
    return absence["person"] == person and datetime.fromisoformat(absence["until"]) > now

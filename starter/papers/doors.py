"""The doors to what is printed: a case's record form as PDF, the register of a period as Excel."""

import asyncio
from collections.abc import Iterator
from datetime import date
from itertools import chain
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from models.complaint import COMPLAINT
from models.forms import Code
from models.people import Person
from models.words import Language, language_of
from starter.front import Front
from starter.papers.press import printed
from starter.papers.record import Print, Sheet
from starter.papers.register import LONGEST, Register
from starter.refusals import Forbidden, NotFound

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PRIVATE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Asked(BaseModel):
    """What may stand after the question mark. A parameter that there is not is refused: mistyped, it would change nothing."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _knows_them_all(cls, given: Any) -> Any:
        if not given.keys() <= cls.model_fields.keys():
            raise PydanticCustomError(
                "unknown_parameter", "must be one of {known}", {"known": ", ".join(cls.model_fields)}
            )
        return given


class RecordQuery(Asked):
    masked: bool = False
    archive: bool = False
    """For the file: without who printed it and when, so that the same state is the same file."""


class Period(Asked):
    """Days of the calendar: from the beginning of the one to the beginning of the other."""

    since: date
    until: date

    @field_validator("until")
    @classmethod
    def _is_later(cls, until: date, info: ValidationInfo) -> date:
        since = info.data.get("since")
        if since and until <= since:
            raise PydanticCustomError("period_empty", "must be later than since")
        if since and until - since > LONGEST:
            raise PydanticCustomError("period_too_long", "must lie within 366 days", {"days": str(LONGEST.days)})
        return until


def add(router: APIRouter, front: Front, who: Any) -> None:
    """Add the doors to the API."""

    @router.get(
        "/cases/{case}/record.pdf", tags=["papers"], summary="处理表 · the record form, PDF", response_class=Response
    )
    async def record_pdf(
        case: Annotated[Code, Path(description="工单编号 · the case's id")],
        by: who,
        asked: Annotated[RecordQuery, Query()],
        accept_language: Annotated[str | None, Header()] = None,
    ) -> Response:
        name, paper = await record(front, by, case, asked.masked, asked.archive, language_of(accept_language))
        return Response(
            paper, media_type="application/pdf", headers=PRIVATE | {"Content-Disposition": named(name, "inline")}
        )

    @router.get(
        "/register.xlsx", tags=["papers"], summary="客诉台账 · the register of a period, Excel", response_class=Response
    )
    async def register_xlsx(
        by: who, period: Annotated[Period, Query()], accept_language: Annotated[str | None, Header()] = None
    ) -> Response:
        name, pieces = await register(front, by, period, language_of(accept_language))
        headers = PRIVATE | {"Content-Disposition": named(name, "attachment")}
        return StreamingResponse(pieces, media_type=XLSX, headers=headers)


async def record(
    front: Front, by: Person, case: str, masked: bool, archive: bool, language: Language
) -> tuple[str, bytes]:
    """A case's form and what its file is called. Forbidden for who may not read contents, NotFound where there is no such form."""
    view = await front.look(by, lambda views: views.case(case))
    if view.facts is None or not by.may_see(view.store, view.region):
        raise Forbidden("may_not_read")
    if view.process != COMPLAINT.name:
        raise NotFound("no_paper")
    sheet = Sheet(
        view,
        front.house.people,
        front.house.calendar,
        language,
        mask=masked,
        print=None if archive else Print(by.id, front.now()),
        attachments=await asyncio.to_thread(front.attachments.of, case, by),
    )
    return f"{view.number}{'-masked' if masked else ''}.pdf", await printed(sheet.form(), sheet.as_of)


async def register(front: Front, by: Person, period: Period, language: Language) -> tuple[str, Iterator[bytes]]:
    """The register of a period and what its file is called. What can be refused is refused before the first piece."""
    house = front.house
    book = Register(house.database, house.keys, house.people, house.calendar, by, front.now(), language)
    cases = await asyncio.to_thread(book.cases, period.since, period.until)
    pieces = book.workbook(period.since, period.until, cases)
    first = await asyncio.to_thread(next, pieces)
    return f"register-{period.since}-{period.until}.xlsx", chain([first], pieces)


def plain(name: str) -> str:
    """A file's name in letters that every system takes."""
    letters = (letter if letter.isascii() and (letter.isalnum() or letter in ".-_") else "_" for letter in name)
    return "".join(letters).lstrip(".")


def named(name: str, how: str) -> str:
    """A Content-Disposition: the name as it is, and one in letters for those who know no other."""
    return f"{how}; filename=\"{plain(name)}\"; filename*=UTF-8''{quote(name, safe='')}"

"""The HTTP doors of a case's attachments: a form with files in, a file out, and nothing a browser would run.

Annotations here are evaluated when a route is made: no `from __future__ import annotations`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from models.forms import Code, FieldError, Private, Text
from starter.attachments.cabinet import A_CASE, Attachments, AttachmentView, full_disk
from starter.attachments.uploads import A_REQUEST, KINDS, MB, PICTURES, READ, Upload
from starter.attachments.vault import SealedFile
from starter.refusals import Invalid, Refused, TooLarge

UPLOAD_WITHIN = timedelta(minutes=10)

CaseId = Annotated[Code, Path(description="工单编号 · the case's id")]
Id = Annotated[Code, Path(description="附件编号 · the attachment's id")]
Key = Annotated[
    Code | None,
    Header(alias="Idempotency-Key", description="提交编号，重发时不变 · the upload's id, the same on every retry"),
]
LOCKED_UP = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
}
FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "caption": {"type": "string", "maxLength": 8000},
                    },
                }
            }
        },
    }
}


class TooSlow(Refused):
    """The upload did not end in time."""

    status = 408


class Removal(Private):
    """Why an attachment is taken away."""

    reason: Text


class AttachmentList(BaseModel):
    """Attachments, the oldest first."""

    items: list[AttachmentView]


def takes_files(scope: Scope) -> bool:
    """Whether a request brings files: their door has limits of its own."""
    match scope["path"].split("/"):
        case ["", "api", "cases", _, "attachments"]:
            return bool(scope["method"] == "POST")
    return False


def add_to(router: APIRouter, attachments: Attachments, who: Any) -> None:
    """The doors of a case's attachments; `who` finds the acting person."""
    place = "/cases/{case}/attachments"

    @router.post(place, tags=["attachments"], summary="添加附件 · add files", status_code=201, openapi_extra=FORM)
    async def attach(case: CaseId, request: Request, by: who, response: Response, key: Key = None) -> AttachmentList:
        await asyncio.to_thread(attachments.admit, case, by)
        _check_announced(request)
        with Upload(request.headers.get("content-type", ""), attachments.vault, A_CASE) as upload:
            caption = await _received(request, upload)
            items, fresh = await attachments.add(case, by, upload.files, caption, key)
        response.status_code = 201 if fresh else 200
        return AttachmentList(items=items)

    @router.get(place, tags=["attachments"], summary="附件列表 · a case's attachments")
    async def list_attachments(case: CaseId, by: who) -> AttachmentList:
        return AttachmentList(items=await asyncio.to_thread(attachments.of, case, by))

    @router.get(f"{place}/{{attachment}}", tags=["attachments"], summary="附件 · the file")
    async def show_attachment(case: CaseId, attachment: Id, by: who) -> Response:
        view, file = await asyncio.to_thread(attachments.look, case, attachment, by)
        media = next(kind.media for kind in KINDS.values() if kind.kept == view.kind)
        return await _file(file, media, str(view.name), inline=view.kind in PICTURES)

    @router.get(
        f"{place}/{{attachment}}/preview",
        tags=["attachments"],
        summary="缩略图 · a picture, small",
    )
    async def show_preview(case: CaseId, attachment: Id, by: who) -> Response:
        _, file = await asyncio.to_thread(attachments.preview, case, attachment, by)
        return await _file(file, "image/jpeg", "preview.jpg", inline=True)

    @router.delete(f"{place}/{{attachment}}", tags=["attachments"], summary="删除附件 · remove a file")
    async def detach(case: CaseId, attachment: Id, removal: Removal, by: who) -> AttachmentView:
        return await asyncio.to_thread(attachments.remove, case, attachment, by, removal.reason)


def _check_announced(request: Request) -> None:
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > A_REQUEST:
        raise TooLarge("upload_too_large", limit=str(A_REQUEST // MB))


async def _received(request: Request, upload: Upload) -> str | None:
    """Take a body in as it comes. Its caption."""
    try:
        async with asyncio.timeout(UPLOAD_WITHIN.total_seconds()):
            with full_disk():
                async for data in _in_portions(request.stream()):
                    await asyncio.to_thread(upload.feed, data)
        return upload.end()
    except TimeoutError:
        raise TooSlow("upload_too_slow", minutes=str(round(UPLOAD_WITHIN / timedelta(minutes=1)))) from None
    except ClientDisconnect:
        raise Invalid([FieldError(field="body", code="upload_broken")]) from None


async def _in_portions(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in fewer pieces: each is handed to a thread."""
    waiting = bytearray()
    async for data in stream:
        waiting += data
        if len(waiting) >= READ:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting)


async def _file(file: SealedFile, media: str, name: str, *, inline: bool) -> Response:
    """A file on its way out, opened a piece at a time; the first one before anything is promised."""
    pieces = file.pieces()
    try:
        first = await asyncio.to_thread(next, pieces)
    except BaseException:
        file.close()
        raise

    def content() -> Iterator[bytes]:
        with file:
            yield first
            yield from pieces

    how = "inline" if inline else "attachment"
    ending = name.rpartition(".")[2]
    disposition = f"{how}; filename=\"attachment.{ending}\"; filename*=UTF-8''{quote(name, safe='')}"
    headers = LOCKED_UP | {"Content-Disposition": disposition, "Content-Length": str(file.size)}
    return StreamingResponse(content(), media_type=media, headers=headers)

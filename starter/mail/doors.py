"""The doors for letters, and for answers kept ready.

Annotations here are evaluated when a route is made: no `from __future__ import annotations`.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from models.forms import Code
from starter.front import Front
from starter.mail.answers import AnswerQuery, AnswerView, AnswerViews, ChangedAnswer, NewAnswer, add, change, remove
from starter.mail.shown import LetterLine, LetterQuery, LetterView, LetterViews
from starter.pages import Page, Part

CaseId = Annotated[Code, Path(description="工单编号 · the case's id")]
AnswerId = Annotated[int, Path(ge=1, le=2**31 - 1, description="模板编号 · the answer's number")]


def add_routes(router: APIRouter, front: Front, who: Any) -> None:
    """The doors of this module."""

    @router.get("/letters", tags=["mail"], summary="邮件列表 · letters, the latest first")
    async def list_letters(by: who, wanted: Annotated[LetterQuery, Query()]) -> Page[LetterLine]:
        return await front.look(by, lambda views: LetterViews(views).letters(**dict(wanted)))

    @router.get("/cases/{case}/letters", tags=["mail"], summary="来往邮件 · the letters of a case")
    async def list_letters_of(case: CaseId, by: who) -> list[LetterView]:
        return await front.look(by, lambda views: LetterViews(views).of(case))

    @router.get(
        "/cases/{case}/answers", tags=["mail"], summary="答复模板（已填入本单） · answers for this case, filled in"
    )
    async def list_answers_for(case: CaseId, by: who, part: Annotated[Part, Query()]) -> Page[AnswerView]:
        return await front.look(by, lambda views: AnswerViews(views).answers(case=case, **dict(part)))

    @router.get("/answers", tags=["mail"], summary="答复模板 · answers kept ready")
    async def list_answers(by: who, wanted: Annotated[AnswerQuery, Query()]) -> Page[AnswerView]:
        return await front.look(by, lambda views: AnswerViews(views).answers(**dict(wanted)))

    @router.post("/answers", tags=["mail"], status_code=201, summary="新增答复模板 · keep an answer ready")
    async def add_answer(new: NewAnswer, by: who, response: Response) -> AnswerView:
        kept = await front.write(lambda session, now: add(session, now, by, new))
        response.headers["Location"] = f"/api/answers/{kept}"
        return await front.look(by, lambda views: AnswerViews(views).answer(kept))

    @router.get("/answers/{answer}", tags=["mail"], summary="答复模板 · an answer")
    async def show_answer(answer: AnswerId, by: who) -> AnswerView:
        return await front.look(by, lambda views: AnswerViews(views).answer(answer))

    @router.put("/answers/{answer}", tags=["mail"], summary="修改答复模板 · change an answer")
    async def change_answer(answer: AnswerId, changed: ChangedAnswer, by: who) -> AnswerView:
        kept = await front.write(lambda session, now: change(session, now, by, answer, changed))
        return await front.look(by, lambda views: AnswerViews(views).answer(kept))

    @router.post(
        "/answers/{answer}/remove", tags=["mail"], status_code=204, summary="移除答复模板 · take an answer away"
    )
    async def remove_answer(answer: AnswerId, by: who) -> None:
        await front.write(lambda session, now: remove(session, now, by, answer))

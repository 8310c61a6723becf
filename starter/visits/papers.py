"""The doors to the visits' workbooks, the report, the callback file, and the calendar's days.

Annotations here are evaluated when a route is made: no `from __future__ import annotations`.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from models.forms import FieldError
from models.people import Person
from models.visits.months import Month, first_day
from models.words import Language, language_of
from starter.customers import Said
from starter.front import Front
from starter.papers.doors import PRIVATE, XLSX, named
from starter.refusals import Forbidden, Invalid, NotFound
from starter.spreadsheets.sheets import CannotImport
from starter.spreadsheets.workbooks import sheet_in
from starter.visits import acts, days, sheets, whom
from starter.visits.callbacks import CallbackQuery, Callbacks, CallbackSearch, CallbackViews
from starter.visits.churned import Churned, ChurnedQuery, ChurnedViews
from starter.visits.doors import Key, OfMonth, OfStore, PlanAnswer, plan_answer
from starter.visits.monthbooks import MonthBooks, ReportView
from starter.visits.notices import SEES_NAMES
from starter.visits.plans import MOST_SENT, Delivered, PlanSent

OfYear = Annotated[int, Path(ge=2000, le=2100, description="年份 · a year")]


def add_routes(router: APIRouter, front: Front, who: Any) -> None:
    """The doors of this module. They come before those that take any word for a visit's id."""
    _add_workbooks(router, front, who)
    _add_reports(router, front, who)
    _add_days(router, front, who)


def _add_workbooks(router: APIRouter, front: Front, who: Any) -> None:
    @router.get(
        "/visits/plans/{month}/{store}/template.xlsx",
        tags=["visits"],
        summary="回访计划表 · a store's plan to fill in, its members in it",
        response_class=Response,
    )
    async def template(month: OfMonth, store: OfStore, by: who, language: Said = None) -> Response:
        return _file(await plan_template(front, by, month, store, language_of(language)), f"{month}-{store}.xlsx")

    @router.post(
        "/visits/plans/{month}/{store}/workbook", tags=["visits"], summary="提交填好的计划表 · hand it in, filled"
    )
    async def workbook(
        month: OfMonth,
        store: OfStore,
        by: who,
        request: Request,
        response: Response,
        key: Key = None,
    ) -> PlanAnswer:
        delivered = await deliver_workbook(front, by, month, store, await request.body(), key)
        status = 201 if delivered.receipt.first and delivered.version.nth == 1 else 200
        return await plan_answer(front, by, month, store, delivered.receipt, response, status)

    @router.get(
        "/visits/churned",
        tags=["visits"],
        summary="流失会员 · a store's members who have bought nothing for three months",
    )
    async def list_churned(by: who, wanted: Annotated[ChurnedQuery, Query()], language: Said = None) -> Churned:
        return await front.look(by, lambda views: ChurnedViews(views).churned(wanted, language_of(language)))


def _add_reports(router: APIRouter, front: Front, who: Any) -> None:
    @router.get(
        "/visits/months/{month}/report", tags=["visits"], summary="回访月报 · the month's figures, as they are now"
    )
    async def report(month: OfMonth, by: who) -> ReportView:
        return await front.look(by, lambda views: MonthBooks(views).report(month))

    @router.get(
        "/visits/months/{month}/report.xlsx",
        tags=["visits"],
        summary="回访月报 · with its lines",
        response_class=Response,
    )
    async def report_book(month: OfMonth, by: who, language: Said = None) -> Response:
        spoken = language_of(language)
        made = await front.look(by, lambda views: MonthBooks(views).report_workbook(month, spoken))
        return _file(made, f"visits-{month}.xlsx")

    @router.get(
        "/visits/months/{month}/plan.xlsx",
        tags=["visits"],
        summary="汇总的回访计划 · all stores' plans",
        response_class=Response,
    )
    async def plan_book(month: OfMonth, by: who, language: Said = None) -> Response:
        spoken = language_of(language)
        made = await front.look(by, lambda views: MonthBooks(views).plan_workbook(month, spoken))
        return _file(made, f"plan-{month}.xlsx")

    @router.get("/callbacks", tags=["visits"], summary="回访档案 · every callback and visit, the latest first")
    async def list_callbacks(by: who, wanted: Annotated[CallbackQuery, Query()], language: Said = None) -> Callbacks:
        spoken = language_of(language)
        return await front.look(by, lambda views: CallbackViews(views).callbacks(wanted, None, spoken))

    @router.post(
        "/callbacks/search", tags=["visits"], summary="按电话或卡号查回访档案 · a customer's callbacks and visits"
    )
    async def find_callbacks(wanted: CallbackSearch, by: who, language: Said = None) -> Callbacks:
        number, spoken = wanted.number, language_of(language)
        return await front.look(by, lambda views: CallbackViews(views).callbacks(wanted.wanted, number, spoken))

    @router.get("/callbacks.xlsx", tags=["visits"], summary="导出回访档案 · the file as Excel", response_class=Response)
    async def callback_book(by: who, wanted: Annotated[CallbackQuery, Query()], language: Said = None) -> Response:
        spoken = language_of(language)
        made = await front.look(by, lambda views: CallbackViews(views).workbook(wanted, None, spoken))
        return _file(made, "callbacks.xlsx")

    @router.post(
        "/callbacks/search.xlsx",
        tags=["visits"],
        summary="导出一位顾客的 · a customer's, as Excel",
        response_class=Response,
    )
    async def book_of_customer(wanted: CallbackSearch, by: who, language: Said = None) -> Response:
        number, spoken = wanted.number, language_of(language)
        made = await front.look(by, lambda views: CallbackViews(views).workbook(wanted.wanted, number, spoken))
        return _file(made, "callbacks.xlsx")


def _add_days(router: APIRouter, front: Front, who: Any) -> None:
    @router.get("/days/{year}", tags=["calendar"], summary="工作日历 · days off, and days worked in their place")
    async def show_days(year: OfYear, by: who) -> days.YearView:
        return await front.look(by, lambda views: days.year_view(views.session, year))

    @router.put("/days/{year}", tags=["calendar"], summary="修改工作日历 · change days of a year")
    async def change_days(year: OfYear, sent: days.DaysSent, by: who) -> days.YearView:
        await front.write(lambda session, now: days.change(session, now, by, year, sent))
        return await front.look(by, lambda views: days.year_view(views.session, year))


# What the command line does too


async def plan_template(front: Front, by: Person, month: Month, store: str, language: Language) -> bytes:
    """A store's plan to fill in. NotFound, Forbidden: it holds names and numbers."""
    if by.role not in SEES_NAMES:
        raise Forbidden("may_not_read")
    known = front.house.people.store(store)
    if known is None or not by.may_see(store, known.region):
        raise NotFound("no_such_store", store=store)
    keys, zone = front.house.keys, front.house.calendar
    stores = whom.stores_followed(front.house.people, store, first_day(month))
    return await front.look(
        by, lambda views: sheets.template(views.session, keys, stores, month, views.now, zone, language)
    )


async def deliver_workbook(
    front: Front, by: Person, month: Month, store: str, content: bytes, key: str | None = None
) -> Delivered:
    """Hand in a plan that was filled in. Invalid names each row and column that does not hold; then nothing is taken."""
    known = sheets.names()
    try:
        found = sheets.read(
            sheet_in(content, lambda head: known.find(head) is not None, "plan.xlsx"), front.house.calendar
        )
    except CannotImport as error:
        raise Invalid([FieldError(field="file", code="no_plan_file")]) from error
    if not found.lines:
        raise Invalid([FieldError(field="file", code="no_day_planned")])
    if len(found.lines) > MOST_SENT:
        raise Invalid(
            [FieldError(field="lines", code="too_many_lines", values={"limit": str(MOST_SENT)}), *found.errors]
        )
    try:
        if not found.errors:
            return await acts.deliver_plan(front, by, month, store, PlanSent(lines=found.lines), "workbook", key)
        await acts.look_at_plan(front, by, month, store, found.lines)
    except Invalid as error:
        raise sheets.by_row(error, found) from error
    raise Invalid(found.errors)


def _file(content: bytes, name: str) -> Response:
    headers = PRIVATE | {"Content-Disposition": named(name, "attachment")}
    return Response(content, media_type=XLSX, headers=headers)

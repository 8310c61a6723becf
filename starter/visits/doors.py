"""The doors of the visits: plans, lines and calls, the month.

Annotations here are evaluated when a route is made: no `from __future__ import annotations`.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import BaseModel

from models.forms import Code
from models.people import Person
from models.visits.months import Month
from models.words import language_of
from starter.customers import Said
from starter.docket import Receipt
from starter.front import Front
from starter.visits import acts
from starter.visits.calls import CallSent, PutOff
from starter.visits.headquarters import Remark
from starter.visits.plans import PlanSent
from starter.visits.shown import (
    ListQuery,
    Lists,
    MonthView,
    PlanView,
    VisitQuery,
    Visits,
    VisitViews,
    WholeVisit,
)

OfMonth = Annotated[Month, Path(description="计划月份 · the month that is planned, like 2027-02")]
OfStore = Annotated[Code, Path(description="门店代码 · the store's code")]
OfVisit = Annotated[Code, Path(description="回访编号 · the visit's id")]
Key = Annotated[
    Code | None,
    Header(alias="Idempotency-Key", description="提交编号，重发时不变 · the submission's id, the same on every retry"),
]


class PlanAnswer(PlanView):
    """A plan, and the submission this call made or repeated."""

    submission: str
    submission_state: str


class MonthAnswer(MonthView):
    """A month, and the submission this call made or repeated."""

    submission: str
    submission_state: str


def add_routes(router: APIRouter, front: Front, who: Any) -> None:
    """The doors of this module."""
    _add_plans(router, front, who)
    _add_months(router, front, who)
    _add_visits(router, front, who)


def _add_plans(router: APIRouter, front: Front, who: Any) -> None:
    @router.put(
        "/visits/plans/{month}/{store}", tags=["visits"], summary="提交月度回访计划 · hand in a store's plan, whole"
    )
    async def deliver(
        month: OfMonth, store: OfStore, sent: PlanSent, by: who, response: Response, key: Key = None
    ) -> PlanAnswer:
        delivered = await acts.deliver_plan(front, by, month, store, sent, "api", key)
        first = delivered.receipt.first and delivered.version.nth == 1
        return await plan_answer(front, by, month, store, delivered.receipt, response, 201 if first else 200)

    @router.get("/visits/plans/{month}/{store}", tags=["visits"], summary="回访计划 · a store's plan for a month")
    async def show_plan(month: OfMonth, store: OfStore, by: who) -> PlanView:
        return await front.look(by, lambda views: VisitViews(views).plan(month, store))


def _add_months(router: APIRouter, front: Front, who: Any) -> None:
    @router.get(
        "/visits/months/{month}", tags=["visits"], summary="回访月份 · which stores delivered, which are missing"
    )
    async def show_month(month: OfMonth, by: who) -> MonthView:
        return await front.look(by, lambda views: VisitViews(views).month(month))

    @router.post(
        "/visits/months/{month}/consolidate", tags=["visits"], summary="汇总存档 · make one plan of the stores'"
    )
    async def consolidate(month: OfMonth, sent: Remark, by: who, response: Response, key: Key = None) -> MonthAnswer:
        receipt = await acts.consolidate(front, by, month, sent, key)
        return await month_answer(front, by, month, receipt, response)

    @router.post(
        "/visits/months/{month}/report", tags=["visits"], summary="提交回访月报 · close the month and report it"
    )
    async def report(month: OfMonth, sent: Remark, by: who, response: Response, key: Key = None) -> MonthAnswer:
        receipt = await acts.report(front, by, month, sent, key)
        return await month_answer(front, by, month, receipt, response)


def _add_visits(router: APIRouter, front: Front, who: Any) -> None:
    @router.get(
        "/visits/lists", tags=["visits"], summary="每日回访名单 · callers' lists of a day, and what is left of each"
    )
    async def list_lists(by: who, wanted: Annotated[ListQuery, Query()], language: Said = None) -> Lists:
        return await front.look(by, lambda views: VisitViews(views).lists(wanted, language_of(language)))

    @router.get("/visits", tags=["visits"], summary="回访明细 · lines of plans, the soonest due first")
    async def list_visits(by: who, wanted: Annotated[VisitQuery, Query()], language: Said = None) -> Visits:
        return await front.look(by, lambda views: VisitViews(views).visits(wanted, language_of(language)))

    @router.get("/visits/{visit}", tags=["visits"], summary="回访 · a line and its calls")
    async def show_visit(visit: OfVisit, by: who) -> WholeVisit:
        return await front.look(by, lambda views: VisitViews(views).visit(visit))

    @router.post("/visits/{visit}/call", tags=["visits"], summary="回访记录 · what came of a call")
    async def call(visit: OfVisit, sent: CallSent, by: who, key: Key = None) -> WholeVisit:
        await acts.call(front, by, visit, sent, key)
        return await front.look(by, lambda views: VisitViews(views).visit(visit))

    @router.post(
        "/visits/{visit}/hold", tags=["visits"], summary="暂缓回访 · hold it back: the customer has an open complaint"
    )
    async def hold(visit: OfVisit, by: who) -> WholeVisit:
        await acts.hold(front, by, visit)
        return await front.look(by, lambda views: VisitViews(views).visit(visit))

    @router.post("/visits/{visit}/put-off", tags=["visits"], summary="改日回访 · another day for it")
    async def put_off(visit: OfVisit, sent: PutOff, by: who) -> WholeVisit:
        await acts.put_off(front, by, visit, sent)
        return await front.look(by, lambda views: VisitViews(views).visit(visit))


async def plan_answer(
    front: Front, by: Person, month: Month, store: str, receipt: Receipt, response: Response, status: int
) -> PlanAnswer:
    """The plan as the ledger shows it now; 202 while it is being processed."""
    response.status_code = 202 if receipt.state == "pending" else status
    view = await front.look(by, lambda views: VisitViews(views).plan(month, store))
    return PlanAnswer(**dict(view), **_sent(receipt))


async def month_answer(front: Front, by: Person, month: Month, receipt: Receipt, response: Response) -> MonthAnswer:
    response.status_code = 202 if receipt.state == "pending" else 200
    view: BaseModel = await front.look(by, lambda views: VisitViews(views).month(month))
    return MonthAnswer(**dict(view), **_sent(receipt))


def _sent(receipt: Receipt) -> dict[str, str]:
    return {"submission": receipt.submission, "submission_state": receipt.state}

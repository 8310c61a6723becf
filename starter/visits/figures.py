"""The month's figures, per store and region: each a count of lines that can be shown (handbook 3.2, step 6)."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel
from sqlalchemy import case
from sqlmodel import Session, col, func, select

from models.tables import PlanVersionRow, TaskRow, VisitRow
from models.visits.months import Month
from starter.visits.submitted import plans_of

What = Literal[
    "planned",
    "done",
    "on_time",
    "late",
    "reached",
    "satisfied",
    "dissatisfied",
    "problems",
    "complaints",
    "held",
    "left",
    "back",
    "lost",
]


def _stands() -> Any:
    return col(VisitRow.state) != "dropped"


WHAT: Mapping[str, Callable[[], Any]] = {
    "planned": _stands,
    "done": lambda: col(VisitRow.state) == "done",
    "on_time": lambda: (col(VisitRow.state) == "done") & col(VisitRow.on_time).is_(True),
    "late": lambda: (col(VisitRow.state) == "done") & col(VisitRow.on_time).is_(False),
    "reached": lambda: (col(VisitRow.state) == "done") & col(VisitRow.reached).is_(True),
    "satisfied": lambda: (col(VisitRow.state) == "done") & (col(VisitRow.outcome) == "satisfied"),
    "dissatisfied": lambda: (col(VisitRow.state) == "done") & (col(VisitRow.outcome) == "dissatisfied"),
    "problems": lambda: _stands() & col(VisitRow.problem).is_(True),
    "complaints": lambda: _stands() & col(VisitRow.complaint).is_not(None),
    "held": lambda: col(VisitRow.state) == "held",
    "left": lambda: col(VisitRow.state) == "planned",
    "back": lambda: _stands() & (col(VisitRow.won) == "back"),
    "lost": lambda: _stands() & (col(VisitRow.won) == "lost"),
}
"""What each figure counts: a condition on lines, and so the lines behind it."""


class Figures(BaseModel):
    """How the visits went. A rate of nothing is none."""

    scope: Literal["store", "region", "all"]
    name: str
    region: str | None
    counts: dict[str, int]
    satisfaction: float | None
    """The mean of 1 to 5, of those reached."""

    def rate(self, part: str, of: str) -> float | None:
        return self.counts[part] / self.counts[of] if self.counts[of] else None


class PlanState(BaseModel):
    """Whether a store handed its plan in: silent and nil returns have no line that any figure could count."""

    store: str
    region: str | None
    state: Literal["delivered", "nil", "missing"]
    late: bool
    """Handed in after its due time, the first time."""
    at: datetime | None
    """When it was handed in first, UTC."""


def plan_states(session: Session, month: Month, stores: list[str] | None = None) -> list[PlanState]:
    """Of every store of which a plan was expected, or came. `stores`: only these."""
    versions: dict[str, list[PlanVersionRow]] = {}
    of_month = select(PlanVersionRow).where(PlanVersionRow.month == month).order_by(col(PlanVersionRow.nth))
    for row in session.exec(of_month):
        versions.setdefault(row.case_id, []).append(row)
    found = []
    for plan in plans_of(session, month):
        if stores is not None and plan.store not in stores:
            continue
        sent, task = versions.get(plan.id, []), session.get(TaskRow, (plan.id, "plan"))
        found.append(
            PlanState(
                store=plan.store or "",
                region=plan.region,
                state="missing" if not sent else "nil" if sent[-1].nil else "delivered",
                late=bool(sent and task and sent[0].at > task.due_at),
                at=sent[0].at if sent else None,
            )
        )
    return found


def figures(session: Session, month: Month, stores: list[str] | None = None) -> list[Figures]:
    """Per store, then per region, then all of it. `stores`: only these."""
    sums = [func.sum(_one_if(condition())) for condition in WHAT.values()]
    select_all: Any = select
    query = select_all(
        *(col(VisitRow.store), func.min(VisitRow.region), *sums),
        *(func.sum(VisitRow.satisfaction), func.count(col(VisitRow.satisfaction))),
    ).where(VisitRow.month == month)
    if stores is not None:
        query = query.where(col(VisitRow.store).in_(stores))
    rows = []
    for store, region, *counted in session.exec(query.group_by(col(VisitRow.store)).order_by(col(VisitRow.store))):
        rows.append(
            (store, region, dict(zip(WHAT, map(int, counted[:-2]), strict=True)), counted[-2] or 0, counted[-1])
        )
    found = [_figures("store", store, region, [row]) for row in rows for store, region in [row[:2]]]
    regions = sorted({row[1] or "" for row in rows})
    found += [_figures("region", one, one, [row for row in rows if (row[1] or "") == one]) for one in regions]
    return [*found, _figures("all", "", None, rows)]


def _figures(scope: Any, name: str, region: str | None, rows: list[Any]) -> Figures:
    counts = {what: sum(row[2][what] for row in rows) for what in WHAT}
    total, many = sum(row[3] for row in rows), sum(row[4] for row in rows)
    return Figures(
        scope=scope, name=name, region=region, counts=counts, satisfaction=round(total / many, 2) if many else None
    )


def _one_if(condition: Any) -> Any:
    return case((condition, 1), else_=0)

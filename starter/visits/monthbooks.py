"""A month's workbooks: the consolidated plan with a sheet for each region, and the report with the lines behind each number."""

from datetime import date
from typing import Any

from pydantic import BaseModel
from sqlmodel import col, select

from models.people import Role
from models.tables import VisitRow
from models.visits.months import Month
from models.words import Language, choice, label, say
from starter.refusals import NotFound
from starter.visits import whom
from starter.visits.books import Sheet, book
from starter.visits.figures import WHAT, Figures, PlanState, figures, plan_states
from starter.visits.shown import VisitViews, line_shown
from starter.visits.submitted import consolidated_at, month_case

LINE = (
    "member_no",
    "name",
    "phone",
    "card_no",
    "goods",
    "purchased_on",
    "purpose",
    "method",
    "planned_on",
    "caller",
    "note",
)


class ReportView(BaseModel):
    """How a month's visits go, or went: per store, per region, and all of it, as it is now."""

    month: Month
    figures: list[Figures]
    plans: list[PlanState]
    """Which stores handed one in: of one that did not there is no figure."""


class MonthBooks(VisitViews):
    """What is counted and written of a month for the reader of these views."""

    def report(self, month: Month) -> ReportView:
        """NotFound where there is no such month."""
        if month_case(self._session, month) is None:
            raise NotFound("no_such_month", month=month)
        return ReportView(month=month, figures=figures(self._session, month, self._stores()), plans=self._plans(month))

    def plan_workbook(self, month: Month, language: Language) -> bytes:
        """The plans of all stores as they were consolidated, and what came or went since; a sheet for each region."""
        view = self.month(month)
        cut = consolidated_at(self._session, view.case)
        rows = self._session.exec(
            select(VisitRow).where(VisitRow.month == month).order_by(col(VisitRow.store), col(VisitRow.planned_on))
        )
        by_region: dict[str, list[list[Any]]] = {}
        for row in rows:
            if row.dropped_at and (cut is None or row.dropped_at <= cut):
                continue
            since = None
            if cut:
                since = "appended" if row.added_at > cut else "taken_out" if row.dropped_at else None
            mark = say("visit", since, language) if since else None
            incomplete = None if row.complete else say("visit", "incomplete", language)
            cells = [row.store, *self._line(row, language), incomplete, mark]
            by_region.setdefault(row.region or "-", []).append(cells)
        heads = [say("visit", "store", language), *(label("visit_line", name, language) for name in LINE)]
        heads += [say("visit", "incomplete", language), say("visit", "since_then", language)]
        first = plans_sheet(month, self._plans(month), language)
        regions = [Sheet(region, heads, cells) for region, cells in sorted(by_region.items())]
        return book([first, *regions], self._here(self._now))

    def report_workbook(self, month: Month, language: Language) -> bytes:
        """The report: a row for each store and region, and all lines, each with the numbers it counts in."""
        view = self.report(month)
        numbers = [
            [
                one.name or say("visit", "all", language),
                one.region,
                *one.counts.values(),
                *_rates(one),
                one.satisfaction,
            ]
            for one in view.figures
        ]
        rates = ("rate_done", "rate_on_time", "rate_reached", "rate_satisfied", "satisfaction")
        heads = [say("visit", name, language) for name in ("store", "region", *WHAT, *rates)]
        stores = self._stores()
        query: Any = select(VisitRow).where(VisitRow.month == month, VisitRow.state != "dropped")
        if stores is not None:
            query = query.where(col(VisitRow.store).in_(stores))
        counted = {
            what: set(self._session.exec(query.with_only_columns(col(VisitRow.id)).where(WHAT[what]())))
            for what in WHAT
        }
        lines = [
            [
                *(row.store, *self._line(row, language)),
                choice("callback", "outcome", row.outcome, language) if row.outcome else None,
                row.satisfaction,
                self._here(row.done_at),
                row.complaint,
                *("1" if row.id in counted[what] else None for what in WHAT),
            ]
            for row in self._session.exec(query.order_by(col(VisitRow.store), col(VisitRow.planned_on)))
        ]
        of_line = [say("visit", "store", language), *(label("visit_line", name, language) for name in LINE)]
        of_line += [say("visit", name, language) for name in ("outcome", "satisfaction", "done_at", "complaint", *WHAT)]
        return book(
            [
                Sheet(say("visit", "report", language), heads, numbers),
                Sheet(say("visit", "lines", language), of_line, lines),
                plans_sheet(say("visit", "plans", language), view.plans, language),
            ],
            self._here(self._now),
        )

    def _plans(self, month: Month) -> list[PlanState]:
        plans = plan_states(self._session, month, self._stores())
        return [one.model_copy(update={"at": self._here(one.at)}) for one in plans]

    def _line(self, row: VisitRow, language: Language) -> list[Any]:
        said = line_shown(whom.line_of(self._keys, row), self._reader) | {"caller": row.caller}
        return [_cell(name, said.get(name), language) for name in LINE]

    def _stores(self) -> list[str] | None:
        """The stores whose figures the reader may see; None for all."""
        match self._reader.role:
            case Role.STORE:
                return [self._reader.store or ""]
            case Role.SUPERVISOR:
                return [one.code for one in self._people.stores if one.region in self._reader.regions]
        return None


def plans_sheet(name: str, plans: list[PlanState], language: Language) -> Sheet:
    """Every store, and whether its plan came."""
    heads = [say("visit", word, language) for word in ("store", "state", "late", "handed_in", "region")]
    late = say("visit", "late", language)
    rows = (
        (one.store, say("visit", one.state, language), late if one.late else None, one.at, one.region) for one in plans
    )
    return Sheet(name, heads, list(rows))


def _rates(one: Figures) -> list[float | None]:
    pairs = (("done", "planned"), ("on_time", "done"), ("reached", "done"), ("satisfied", "reached"))
    return [round(rate, 4) if (rate := one.rate(*pair)) is not None else None for pair in pairs]


def _cell(name: str, said: Any, language: Language) -> Any:
    if said and name in ("purchased_on", "planned_on"):
        return date.fromisoformat(said)
    return choice("visit_line", name, said, language) if said and name in ("purpose", "method") else said

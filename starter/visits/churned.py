"""Members who have bought nothing for over three months (handbook 5.4, T23): whom a store may win back."""

from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel
from sqlmodel import col, func, select

from models.forms import Code
from models.people import Role
from models.tables import MemberRow, PurchaseRow
from models.words import Language, say
from starter.pages import Page, Part, instant_of, read_cursor
from starter.refusals import Forbidden, NotFound
from starter.visits import whom
from starter.visits.notices import SEES_NAMES
from starter.visits.shown import VisitViews

NEVER = datetime(1900, 1, 1, tzinfo=UTC)
"""When who never bought anything bought last, for an order of all."""


def churned(stores: list[str], now: datetime, zone: ZoneInfo, after: tuple[datetime, str] | None = None) -> Any:
    """A query: these stores' churned members and when each bought something last, those who did last first.

    `after`: those beyond one who bought last then.
    """
    since = whom.churned_before(now.astimezone(zone).date(), zone)
    bought = (
        select(PurchaseRow.member_id, func.max(PurchaseRow.at).label("at"))
        .where(whom.is_sale())
        .group_by(col(PurchaseRow.member_id))
        .subquery()
    )
    never = bought.c.at.is_(None) & (col(MemberRow.joined_on) < since.astimezone(zone).date())
    last = func.coalesce(bought.c.at, NEVER)
    columns: Any = select
    query = (
        columns(MemberRow, bought.c.at)
        .join(bought, bought.c.member_id == MemberRow.id, isouter=True)
        .where(col(MemberRow.store).in_(stores), MemberRow.standing == "active")
        .where((bought.c.at < since) | never)
        .order_by(last.desc(), col(MemberRow.id))
    )
    return query.where((last < after[0]) | ((last == after[0]) & (col(MemberRow.id) > after[1]))) if after else query


class ChurnedView(BaseModel):
    """A member who has bought nothing for over three months."""

    member: str
    store: str
    bought_on: date | None
    """None where he never bought anything."""
    member_no: str | None
    name: str | None
    phone: str | None


class Churned(Page[ChurnedView]):
    """Those who bought last first."""

    hint: str | None = None


class ChurnedQuery(Part):
    store: Code


class ChurnedViews(VisitViews):
    """The churned members that the reader of these views may see."""

    def churned(self, wanted: ChurnedQuery, language: Language = "zh") -> Churned:
        """A store's, and those of the closed stores that it follows. Forbidden, NotFound."""
        if self._reader.role not in (*SEES_NAMES, Role.DIRECTOR, Role.SUPERVISOR):
            raise Forbidden("may_not_read")
        known = self._people.store(wanted.store)
        if known is None or not self._reader.may_see(wanted.store, known.region):
            raise NotFound("no_such_store", store=wanted.store)
        stores = whom.stores_followed(self._people, wanted.store, self._now.astimezone(self._zone).date())
        after = None
        if wanted.cursor:
            at, member = read_cursor(wanted.cursor, 2)
            after = (instant_of(at), member)
        page = self._page(
            churned(stores, self._now, self._zone, after),
            wanted.limit,
            lambda rows: [self._churned(row, at) for row, at in rows],
            lambda row: ((row[1] or NEVER).isoformat(), row[0].id),
        )
        return Churned(**dict(page), hint=None if page.items else say("hint", "no_churned", language))

    def _churned(self, member: MemberRow, bought_at: datetime | None) -> ChurnedView:
        record = self.record(member) if self._reader.role in SEES_NAMES else {}
        return ChurnedView(
            member=member.id,
            store=member.store,
            bought_on=bought_at.astimezone(self._zone).date() if bought_at else None,
            **{name: record.get(name) for name in ("member_no", "name", "phone")},
        )

"""What became of a notice outside, and how the post stands: who is reached over what, what waits, what could not be delivered."""

from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel
from sqlmodel import col, func, select

from models.forms import Code
from models.people import Person, Role
from models.reach import kind_of
from models.tables import DeliveryRow, NoticeRow
from starter.pages import Page, Part, cursor_of, read_cursor
from starter.refusals import Forbidden, NotFound
from starter.views import Views

DAY = timedelta(days=1)
MAY_LOOK = frozenset({Role.MANAGER, Role.DIRECTOR, Role.ADMINISTRATOR})


class DeliveryView(BaseModel):
    """A notice over one channel. `late` is how long after the notice the channel took it."""

    channel: str
    rank: int
    state: Literal["waiting", "delivered", "undeliverable", "bounced", "inbox", "outdated"]
    urgent: bool
    notices: int
    """So many went out as one message."""
    possible_duplicate: bool
    attempts: int
    next_try_at: datetime | None
    delivered_at: datetime | None
    late: timedelta | None
    failed: str | None


class PostLine(BaseModel):
    """How one person is reached over one channel; the counts are of the last 24 hours, what waits of all time."""

    person: str
    name: str
    rank: int | None
    channel: str | None
    """None: nothing but the inbox."""
    waiting: int
    delivered: int
    undeliverable: int
    last_delivered_at: datetime | None
    failed: str | None


class PostQuery(Part):
    person: Code | None = None


class PostViews(Views):
    """Reads the deliveries for the reader of these views."""

    def __init__(self, views: Views) -> None:
        vars(self).update(vars(views))

    def deliveries(self, notice: int) -> list[DeliveryView]:
        """Where a notice went. NotFound unless it is the reader's, or he may look after the post."""
        row = self._session.get(NoticeRow, notice)
        if (
            row is None
            or row.delivered_at is None
            or not (row.person == self._reader.id or self._reader.role in MAY_LOOK)
        ):
            raise NotFound("no_such_notice", notice=str(notice))
        query = select(DeliveryRow).where(DeliveryRow.person == row.person, DeliveryRow.key == row.key)
        return [self._delivery(one, row) for one in self._session.exec(query.order_by(col(DeliveryRow.rank)))]

    def post(self, *, person: str | None = None, limit: int = 50, cursor: str | None = None) -> Page[PostLine]:
        """Everybody's channels and how they do, by person. Forbidden for who does not look after the post."""
        if self._reader.role not in MAY_LOOK:
            raise Forbidden("may_not_read")
        after = read_cursor(cursor, 1)[0] if cursor else ""
        everybody = sorted((one for one in self._people.people if person in (None, one.id)), key=lambda one: one.id)
        left = [one for one in everybody if one.id > after]
        shown = [line for one in left[:limit] for line in self._lines(one)]
        if len(left) <= limit:
            return Page(items=shown)
        return Page(items=shown, cursor=cursor_of(left[limit - 1].id), more=len(left) - limit)

    def _lines(self, person: Person) -> list[PostLine]:
        channels = [kind_of(address.get_secret_value()) or "" for address in person.channels]
        if not channels:
            return [self._line(person, None, None)]
        return [self._line(person, rank, channel) for rank, channel in enumerate(channels)]

    def _line(self, person: Person, rank: int | None, channel: str | None) -> PostLine:
        of = (DeliveryRow.person == person.id, DeliveryRow.channel == (channel or "inbox"))
        recent = select(DeliveryRow.state, func.count()).where(*of, DeliveryRow.created_at > self._now - DAY)
        counts = dict(self._session.exec(recent.group_by(col(DeliveryRow.state))).all())
        waiting = select(func.count()).select_from(DeliveryRow).where(*of, DeliveryRow.state == "waiting")
        last = self._session.exec(select(func.max(DeliveryRow.delivered_at)).where(*of)).one()
        failing = select(DeliveryRow.failed).where(*of, col(DeliveryRow.failed).is_not(None))
        return PostLine(
            person=person.id,
            name=person.name,
            rank=rank,
            channel=channel,
            waiting=self._session.exec(waiting).one(),
            delivered=counts.get("delivered", 0),
            undeliverable=counts.get("undeliverable", 0) + counts.get("bounced", 0),
            last_delivered_at=self._here(last),
            failed=self._session.exec(failing.order_by(col(DeliveryRow.id).desc()).limit(1)).first(),
        )

    def _delivery(self, row: DeliveryRow, notice: NoticeRow) -> DeliveryView:
        together: Any = select(func.count()).select_from(DeliveryRow).where(DeliveryRow.parcel == row.parcel)
        return DeliveryView(
            channel=row.channel,
            rank=row.rank,
            state=row.state,
            urgent=row.urgent,
            notices=self._session.exec(together).one() if row.parcel else 1,
            possible_duplicate=row.doubtful,
            attempts=row.attempts,
            next_try_at=self._here(row.next_try_at) if row.state == "waiting" else None,
            delivered_at=self._here(row.delivered_at),
            late=row.delivered_at - notice.created_at if row.delivered_at else None,
            failed=row.failed,
        )

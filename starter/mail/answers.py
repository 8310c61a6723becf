"""Answers kept ready, by category, with places to fill in: the manager keeps them, everybody who answers uses them."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, StringConstraints
from pydantic_core import PydanticCustomError
from sqlmodel import Session, col, or_, select

from activities.submissions import unsealed
from models.forms import Code, Private
from models.people import Person, Role
from models.tables import AnswerRow, CaseRow, TaskRow
from starter.facts import facts_now
from starter.library.nameless import objections
from starter.pages import Page, Part, read_cursor, whole_of
from starter.post.wording import spoken
from starter.refusals import Conflict, Forbidden, Invalid, NotFound
from starter.views import Views

MAY_WRITE = frozenset({Role.MANAGER})
MAY_READ = frozenset({Role.SPECIALIST, Role.MANAGER, Role.DIRECTOR})
PLACES = ("number", "customer", "store", "style_no", "due_at", "owner")
"""What may stand in braces, and is filled in from the case."""
PLACE = re.compile(r"\{([^{}]*)\}")

Short = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]


def _has_known_places(text: str) -> str:
    for found in PLACE.findall(text):
        if found not in PLACES:
            raise PydanticCustomError("unknown_place", "must be one of {known}", {"known": ", ".join(PLACES)})
    return text


class NewAnswer(Private):
    """An answer. `category` is that of the cases it is for; none means all of them."""

    category: Code | None = None
    form: Literal["reply", "solution"] = "reply"
    title: Short
    text: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=4000),
        AfterValidator(_has_known_places),
    ]


class ChangedAnswer(NewAnswer):
    """The whole answer as it shall be, and the version that was changed."""

    version: int = Field(ge=1, le=2**31 - 1)


class AnswerView(BaseModel):
    """An answer kept ready; for a case, `text` is filled in with what is known, and `missing` names the places that are not."""

    id: int
    category: str | None
    form: str
    title: str
    text: str
    missing: list[str] = []
    version: int
    by: str
    changed_at: datetime


class AnswerQuery(Part):
    category: Code | None = None
    form: Literal["reply", "solution"] | None = None


def add(session: Session, now: datetime, by: Person, new: NewAnswer) -> int:
    """Keep an answer. Forbidden but for the manager; Invalid where somebody's number stands in it."""
    _check(by, new)
    row = AnswerRow(**new.model_dump(), by=by.id, changed_at=now)
    session.add(row)
    session.flush()
    return row.id or 0


def change(session: Session, now: datetime, by: Person, id: int, changed: ChangedAnswer) -> int:
    """Change an answer. Conflict when somebody else has meanwhile."""
    _check(by, changed)
    row = _standing(session, id)
    if row.version != changed.version:
        raise Conflict("answer_changed", answer=str(id), version=str(row.version))
    for name, value in changed.model_dump(exclude={"version"}).items():
        setattr(row, name, value)
    row.version, row.by, row.changed_at = row.version + 1, by.id, now
    return id


def remove(session: Session, now: datetime, by: Person, id: int) -> None:
    """Take an answer away."""
    _check(by)
    row = _standing(session, id)
    row.removed_at, row.by, row.changed_at = now, by.id, now


def _check(by: Person, said: NewAnswer | None = None) -> None:
    if by.role not in MAY_WRITE:
        raise Forbidden("may_not_keep_answers", role=by.role)
    if said and (errors := objections(said.model_dump(include={"title", "text"}))):
        raise Invalid(errors)


def _standing(session: Session, id: int) -> AnswerRow:
    row = session.get(AnswerRow, id)
    if row is None or row.removed_at:
        raise NotFound("no_such_answer", answer=str(id))
    return row


class AnswerViews(Views):
    """Reads the answers for the reader of these views. Forbidden for who answers nobody."""

    def __init__(self, views: Views) -> None:
        vars(self).update(vars(views))
        if self._reader.role not in MAY_READ:
            raise Forbidden("may_not_read")

    def answer(self, id: int) -> AnswerView:
        return self._answer(_standing(self._session, id), None)

    def answers(
        self,
        *,
        category: str | None = None,
        form: str | None = None,
        case: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[AnswerView]:
        """Answers in the order they were kept. For a case: those of its category and those of all, filled in."""
        known = None
        query = select(AnswerRow).where(col(AnswerRow.removed_at).is_(None)).order_by(col(AnswerRow.id))
        if case:
            known, category = self._known(case)
            query = query.where(or_(col(AnswerRow.category).is_(None), AnswerRow.category == category))
        elif category:
            query = query.where(AnswerRow.category == category)
        if form:
            query = query.where(AnswerRow.form == form)
        if cursor:
            query = query.where(col(AnswerRow.id) > whole_of(read_cursor(cursor, 1)[0]))

        def shown(rows: list[AnswerRow]) -> list[AnswerView]:
            return [self._answer(row, known) for row in rows]

        return self._page(query, limit, shown, lambda row: (str(row.id),))

    def _known(self, id: str) -> tuple[dict[str, str], str | None]:
        """What a case fills in, and its category. NotFound as for the case."""
        case = self._session.get(CaseRow, id)
        if case is None or not self._may_read(case):
            raise self.missing(id)
        facts = facts_now(self._session, id, lambda row: unsealed(row, self._keys))
        store = self._people.store(case.store)
        of_case = select(TaskRow).where(
            TaskRow.case_id == id, TaskRow.state == "open", col(TaskRow.by_itself).is_(False)
        )
        task = self._session.exec(of_case.order_by(col(TaskRow.due_at)).limit(1)).first()
        due = spoken({"due_at": case.due_at.isoformat()}, self._zone)["due_at"] if case.due_at else None
        found: dict[str, Any] = {
            "number": case.number,
            "customer": (facts.get("customer") or {}).get("name"),
            "store": store.name if store else case.store,
            "style_no": (facts.get("goods") or {}).get("style_no"),
            "due_at": due,
            "owner": self._people.name(task.owner) if task else None,
        }
        return {name: value for name, value in found.items() if value}, facts.get("category")

    def _answer(self, row: AnswerRow, known: Mapping[str, str] | None) -> AnswerView:
        text = row.text if known is None else PLACE.sub(lambda place: known.get(place[1], place[0]), row.text)
        return AnswerView(
            **row.model_dump(exclude={"text", "changed_at", "removed_at"}),
            text=text,
            missing=[] if known is None else sorted(set(PLACE.findall(text))),
            changed_at=self._here(row.changed_at),
        )

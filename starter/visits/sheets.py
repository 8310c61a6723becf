"""A store's plan as a workbook: written with its members and what they bought, and read again with every row that does not hold."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError
from sqlmodel import Session, col, func, select

from activities.keys import KeyRing
from models.forms import FieldError
from models.tables import MemberRow, PurchaseRow
from models.visits.facts import PlannedVisit
from models.words import Language, label, say
from starter.refusals import Invalid, field_errors, reason_of
from starter.spreadsheets.columns import Leaf, Names, Unreadable, leaves_in, value_of
from starter.spreadsheets.sheets import Record, Sheet
from starter.visits import whom
from starter.visits.books import Sheet as Page
from starter.visits.books import book
from starter.visits.churned import churned

OWNER = "visit_line"
"""Whose words the columns bear."""
RECENT = timedelta(days=60)
"""Who has bought something since is offered for a visit after the sale."""
MOST = 300
"""Members of a kind that are offered."""
ROOM = 200
STAND_INS = {"purpose": "care", "planned_on": "2000-01-01"}
"""What a line needs to be looked at where its own cell does not hold."""
ON_THEIR_OWN = frozenset({"planned_on", "purchased_on", "caller"})
"""Fields that hold or do not, whatever stands in the others."""


def names() -> Names:
    return Names.among(OWNER, leaves_in(OWNER, PlannedVisit))


@dataclass(frozen=True)
class Offered:
    """A member that may be visited: why, and what he bought last and when."""

    member: MemberRow
    purpose: str
    receipt: str | None
    bought_on: date | None
    amount: str | None


def offered(session: Session, stores: list[str], now: datetime, zone: ZoneInfo) -> list[Offered]:
    """The members of these stores who bought something within three months, the latest first: after the sale, or, where that
    is some time ago, as a courtesy; then those who have not."""
    gone = session.exec(churned(stores, now, zone).limit(MOST))
    lost = [Offered(row, "churned", None, at.astimezone(zone).date() if at else None, None) for row, at in gone]
    return [*_buyers(session, stores, now, zone), *lost]


def _buyers(session: Session, stores: list[str], now: datetime, zone: ZoneInfo) -> list[Offered]:
    since = whom.churned_before(now.astimezone(zone).date(), zone)
    last = (
        select(PurchaseRow.member_id, func.max(PurchaseRow.at).label("at"))
        .join(MemberRow, col(MemberRow.id) == col(PurchaseRow.member_id))
        .where(col(MemberRow.store).in_(stores), MemberRow.standing == "active", whom.is_sale())
        .group_by(col(PurchaseRow.member_id))
        .subquery()
    )
    query = (
        select(MemberRow, PurchaseRow)
        .join(PurchaseRow, col(PurchaseRow.member_id) == col(MemberRow.id))
        .join(last, (last.c.member_id == PurchaseRow.member_id) & (last.c.at == PurchaseRow.at))
        .where(PurchaseRow.at >= since, whom.is_sale())
        .order_by(col(PurchaseRow.at).desc(), col(PurchaseRow.receipt))
    )
    found: dict[str, Offered] = {}
    for member, bought in session.exec(query.limit(2 * MOST)):
        on, purpose = bought.at.astimezone(zone).date(), "after_sale" if bought.at >= now - RECENT else "care"
        found.setdefault(member.id, Offered(member, purpose, bought.receipt, on, f"{bought.amount:.2f}"))
    return list(found.values())[:MOST]


def template(
    session: Session, keys: KeyRing, stores: list[str], month: str, now: datetime, zone: ZoneInfo, language: Language
) -> bytes:
    """The workbook of the first store's plan, the members of these filled in. A row whose day stays empty is not planned."""
    leaves = list(names().leaves.values())
    members = offered(session, stores, now, zone)
    rows = [_row(leaves, one, keys, language) for one in members]
    churned_ones = sum(one.purpose == "churned" for one in members)
    cut = MOST in (churned_ones, len(members) - churned_ones)
    page = Page(
        f"{month} {stores[0]}",
        [leaf.label(language) + ("*" if leaf.required else "") for leaf in leaves],
        rows,
        picks={
            n: [leaf.choice(code, language) for code in leaf.choices] for n, leaf in enumerate(leaves) if leaf.choices
        },
        required=frozenset(n for n, leaf in enumerate(leaves) if leaf.required),
        room=ROOM,
    )
    guide = Page(
        say("template", "guide", language),
        [say("template", "column", language), say("template", "how", language)],
        [
            [say("visit", "plan_guide", language, month=month), ""],
            *([[say("visit", "plan_cut", language, most=MOST), ""]] if cut else []),
            *([leaf.label(language), say("visit", f"how_{leaf.name}", language, month=month)] for leaf in leaves),
        ],
    )
    return book([page, guide], now.astimezone(zone))


def _row(leaves: list[Leaf], one: Offered, keys: KeyRing, language: Language) -> list[Any]:
    record = whom.record_of(one.member, keys)
    values: dict[str, Any] = {
        **{name: record.get(name) for name in ("member_no", "name", "phone", "card_no")},
        "goods": f"{one.receipt} ¥{one.amount}" if one.receipt else None,
        "receipt_no": one.receipt,
        "purchased_on": one.bought_on,
        "purpose": one.purpose,
        "method": "phone",
    }
    return [
        leaf.choice(values[leaf.name], language) if leaf.choices and values.get(leaf.name) else values.get(leaf.name)
        for leaf in leaves
    ]


# Read again


@dataclass(frozen=True)
class Read:
    """The planned lines of a workbook, and the row that each stands in."""

    lines: list[PlannedVisit]
    """Last those of which a cell does not hold: what is left of them, to be looked at and never taken."""
    rows: list[int]
    left_out: int
    """Rows without a day."""
    errors: list[FieldError]
    """The cells that do not hold."""


def read(sheet: Sheet, zone: ZoneInfo) -> Read:
    """The lines of a plan, and every cell that does not hold."""
    known = names()
    columns = {n: leaf for n, header in enumerate(sheet.headers) if (leaf := known.find(header))}
    sound: list[tuple[PlannedVisit, int]] = []
    rest: list[tuple[PlannedVisit, int]] = []
    errors, left_out = [], 0
    for record in sheet.records():
        values, against = _values(record, columns, zone)
        wrong = {error.field for error in against}
        if "planned_on" not in values.keys() | wrong:
            left_out += 1
            continue
        try:
            line = PlannedVisit.model_validate(values)
        except ValidationError as error:
            against += [one for one in field_errors(error.errors(), PlannedVisit) if one.field not in wrong]
            whole = {name: said for name, said in values.items() if name not in {one.field for one in against}}
            line = PlannedVisit.model_validate({**STAND_INS, **whole})
        (rest if against else sound).append((line, record.line))
        errors += [one.model_copy(update={"field": f"rows.{record.line}.{one.field}"}) for one in against]
    lines = [*sound, *rest]
    return Read([line for line, _ in lines], [row for _, row in lines], left_out, errors)


def _values(record: Record, columns: Mapping[int, Leaf], zone: ZoneInfo) -> tuple[dict[str, str], list[FieldError]]:
    values: dict[str, str] = {}
    against: list[FieldError] = []
    for column, leaf in columns.items():
        text = record.cells[column].strip() if column < len(record.cells) else ""
        if not text:
            continue
        try:
            values[leaf.name] = value_of(leaf, text, zone).text
        except Unreadable as lost:
            against.append(FieldError(field=leaf.name, code=lost.code, values=lost.values))
    return values, against


def by_row(error: Invalid, found: Read) -> Invalid:
    """What a plan's door has against its lines, by the rows of the workbook they came from, with the cells that do not hold.

    Of a line with such a cell only what cannot come of it.
    """
    wrong = {one.field for one in found.errors}
    rows = {place.split(".")[1] for place in wrong}
    errors = [one.model_copy(update={"field": _placed(one.field, found.rows)}) for one in error.errors]
    more = [one for one in errors if _row_of(one) not in rows or _is_its_own(one, wrong)]
    return Invalid(sorted([*found.errors, *more], key=lambda one: int(_row_of(one) or 0)))


def _row_of(error: FieldError) -> str:
    return error.field.split(".")[1] if error.field.startswith("rows.") else ""


def _is_its_own(error: FieldError, wrong: set[str]) -> bool:
    return error.field not in wrong and error.field.rpartition(".")[2] in ON_THEIR_OWN


def _placed(place: str, rows: list[int]) -> str:
    parts = place.split(".")
    return f"rows.{rows[int(parts[1])]}.{parts[-1]}" if parts[0] == "lines" and len(parts) > 1 else place


def in_words(error: Invalid, language: Language) -> Iterator[str]:
    """Every row and column that does not hold, and why, as people read it."""
    for one in error.errors:
        parts = one.field.split(".")
        reason = reason_of(one, language)
        if reason == say("field", "other", language):
            reason = say("import", one.code, language, **one.values)
        where = (
            say("visit", "row", language, row=parts[1], column=label(OWNER, parts[-1], language))
            if len(parts) > 2
            else one.field
        )
        yield f"{where}: {reason}"


def label_of(field: str, language: Language) -> str:
    return label(OWNER, field, language)

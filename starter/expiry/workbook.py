"""《XX月到期会员名单》 as a workbook (handbook 3.3 F2): who is on it and what each still lacks; who has earned the waiver, counted apart."""

from collections.abc import Iterator
from datetime import UTC
from decimal import Decimal

from sqlmodel import Session, col, func, select
from xlsxwriter import Workbook

from activities.members import whole
from models.expiry import Reckoned
from models.tables import ExpiryLineRow, ExpiryListRow, MemberRow
from models.words import Language, say
from settings import House
from starter.expiry.standing import made_anyway_by, rule_of, yuan
from starter.papers.workbook import Column, Value, streamed

COLUMNS = (
    *(("nth", 6, "count"), ("month", 9, "text"), ("store", 22, "text"), ("region", 10, "text")),
    *(("card_no", 18, "text"), ("name", 12, "text"), ("phone", 16, "text"), ("valid_through", 12, "text")),
    *(("purchases", 10, "count"), ("spend", 12, "money")),
    *(("purchases_missing", 10, "count"), ("amount_missing", 12, "money")),
)
CHUNK = 500


def workbook(session: Session, house: House, month: str, language: Language = "zh") -> bytes:
    """The whole workbook. An empty list has its headings all the same (5.3 E52)."""
    row = session.get_one(ExpiryListRow, month)
    counts = select(ExpiryLineRow.waived, func.count()).where(ExpiryLineRow.month == month)
    by_waiver = dict(session.exec(counts.group_by(col(ExpiryLineRow.waived))).all())
    columns = [Column(say("expiry", name, language), width, kind) for name, width, kind in COLUMNS]
    made_at = row.as_of.astimezone(UTC)

    def figures(book: Workbook) -> None:
        sheet = book.add_worksheet(say("expiry", "figures", language))
        sheet.set_column(0, 0, 30)
        sheet.set_column(1, 1, 40)
        rule, by = rule_of(session, month), made_anyway_by(session, row)
        for line, (word, value) in enumerate(
            (
                *([("made_anyway", house.people.name(by))] if by else []),
                ("as_of", f"{row.as_of.astimezone(house.calendar):%Y-%m-%d %H:%M}"),
                ("listed", str(by_waiver.get(False, 0))),
                ("waived", str(by_waiver.get(True, 0))),
                ("rule", say("expiry", "the_rule", language, purchases=rule.purchases, amount=rule.amount)),
            )
        ):
            sheet.write_string(line, 0, say("expiry", word, language))
            sheet.write_string(line, 1, value)

    title = title_of(month, language)
    pieces = streamed(title, columns, by_waiver.get(False, 0), _rows(session, house, month), figures, made_at)
    return b"".join(pieces)


def title_of(month: str, language: Language) -> str:
    return say("expiry", "title", language, month=int(month[5:]), year=month[:4])


def _rows(session: Session, house: House, month: str) -> Iterator[list[Value]]:
    rule, nth = rule_of(session, month), 0
    while lines := _some(session, month, nth):
        for line, member in lines:
            known = whole(member, house.keys)
            stands = Reckoned(rule, line.purchases, yuan(line.fen))
            store = house.people.store(line.store)
            values: dict[str, Value] = {
                "nth": line.nth,
                "month": month,
                "store": store.name if store else line.store,
                "region": line.region,
                **{name: known.get(name) for name in ("card_no", "name", "phone")},
                "valid_through": line.valid_through.isoformat(),
                "purchases": stands.purchases,
                "spend": stands.spend,
                "purchases_missing": stands.purchases_missing,
                "amount_missing": Decimal(stands.amount_missing),
            }
            yield [values[name] for name, _, _ in COLUMNS]
        nth = lines[-1][0].nth


def _some(session: Session, month: str, after: int) -> list[tuple[ExpiryLineRow, MemberRow]]:
    query = select(ExpiryLineRow, MemberRow).join(MemberRow, col(MemberRow.id) == col(ExpiryLineRow.member_id))
    query = query.where(ExpiryLineRow.month == month, col(ExpiryLineRow.waived).is_(False), ExpiryLineRow.nth > after)
    return list(session.exec(query.order_by(col(ExpiryLineRow.nth)).limit(CHUNK)).all())

"""《XX月到期会员名单》 as a workbook (handbook 3.3 F2): who is on it, what each still lacks and what came of him; who has earned the waiver, counted apart."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

from sqlmodel import Session, col, func, select
from xlsxwriter import Workbook

from activities.keys import KeyRing
from activities.members import whole
from models.expiry import Reckoned, Waiver
from models.organisation import Who
from models.tables import ExpiryLineRow, ExpiryListRow, MemberRow
from models.words import Language, choice, say
from starter.expiry.course import Course, courses
from starter.expiry.standing import made_anyway_by, rule_of, yuan
from starter.papers.workbook import Column, Value, streamed

COLUMNS = (
    *(("nth", 6, "count"), ("month", 9, "text"), ("store", 22, "text"), ("region", 10, "text")),
    *(("card_no", 18, "text"), ("name", 12, "text"), ("phone", 16, "text"), ("valid_through", 12, "text")),
    *(("purchases", 10, "count"), ("spend", 12, "money")),
    *(("purchases_missing", 10, "count"), ("amount_missing", 12, "money")),
    *(("state", 10, "text"), ("called_at", 16, "text"), ("called_by", 12, "text"), ("outcome", 12, "text")),
    *(("told_rule", 10, "text"), ("store_notified_at", 16, "text"), ("closed_because", 14, "text")),
    *(("made_by", 14, "text"), ("made_at", 16, "text")),
)
CHUNK = 500


@dataclass
class Book:
    """The workbook of a month's list that was made at an instant (UTC). Of the calls it says what is known when it is written."""

    session: Session
    keys: KeyRing
    people: Who
    zone: ZoneInfo
    month: str
    made_at: datetime
    language: Language = "zh"

    def written(self) -> bytes:
        """The whole of it. An empty list has its headings all the same (5.3 E52)."""
        columns = [Column(self._said(name), width, kind) for name, width, kind in COLUMNS]
        title, created = title_of(self.month, self.language), self._row.as_of.astimezone(UTC)
        return b"".join(
            streamed(title, columns, self._by_waiver.get(False, 0), self._rows(), self._add_figures, created)
        )

    @cached_property
    def _row(self) -> ExpiryListRow:
        return self.session.get_one(ExpiryListRow, self.month)

    @cached_property
    def _rule(self) -> Waiver:
        return rule_of(self.session, self.month)

    @cached_property
    def _anyway_by(self) -> str | None:
        by = made_anyway_by(self.session, self._row)
        return self.people.name(by) if by else None

    @cached_property
    def _by_waiver(self) -> dict[bool, int]:
        counts = select(ExpiryLineRow.waived, func.count()).where(ExpiryLineRow.month == self.month)
        return dict(self.session.exec(counts.group_by(col(ExpiryLineRow.waived))).all())

    def _add_figures(self, book: Workbook) -> None:
        sheet = book.add_worksheet(self._said("figures"))
        sheet.set_column(0, 0, 30)
        sheet.set_column(1, 1, 40)
        rule = {"purchases": self._rule.purchases, "amount": self._rule.amount}
        for line, (word, value) in enumerate(
            (
                *([("made_anyway", self._anyway_by)] if self._anyway_by else []),
                ("as_of", self._minute(self._row.as_of)),
                ("listed", str(self._by_waiver.get(False, 0))),
                ("waived", str(self._by_waiver.get(True, 0))),
                ("rule", say("expiry", "the_rule", self.language, **rule)),
            )
        ):
            sheet.write_string(line, 0, self._said(word))
            sheet.write_string(line, 1, value)

    def _rows(self) -> Iterator[list[Value]]:
        last, number = 0, count(1)  # those with the waiver have places between
        while lines := self._some(last):
            known = courses(self.session, [line.case_id for line, _ in lines if line.case_id])
            for line, member in lines:
                course = known.get(line.case_id or "")
                values = self._of_member(line, member) | (self._of_course(course) if course else {})
                values["nth"] = next(number)
                yield [values.get(name) for name, _, _ in COLUMNS]
            last = lines[-1][0].nth

    def _some(self, after: int) -> list[tuple[ExpiryLineRow, MemberRow]]:
        query = select(ExpiryLineRow, MemberRow).join(MemberRow, col(MemberRow.id) == col(ExpiryLineRow.member_id))
        of_month = query.where(ExpiryLineRow.month == self.month, col(ExpiryLineRow.waived).is_(False))
        return list(
            self.session.exec(
                of_month.where(ExpiryLineRow.nth > after).order_by(col(ExpiryLineRow.nth)).limit(CHUNK)
            ).all()
        )

    def _of_member(self, line: ExpiryLineRow, member: MemberRow) -> dict[str, Value]:
        known = whole(member, self.keys)
        stands = Reckoned(self._rule, line.purchases, yuan(line.fen))
        store = self.people.store(line.store)
        return {
            "month": self.month,
            "store": store.name if store else line.store,
            "region": self.people.region_name(line.region),
            **{name: known.get(name) for name in ("card_no", "name", "phone")},
            "valid_through": line.valid_through.isoformat(),
            "purchases": stands.purchases,
            "spend": stands.spend,
            "purchases_missing": stands.purchases_missing,
            "amount_missing": Decimal(stands.amount_missing),
            "made_by": self._anyway_by or self._said("calendar"),
            "made_at": self._minute(self.made_at),
        }

    def _of_course(self, course: Course) -> dict[str, Value]:
        return {
            "state": say("screen", course.state, self.language),
            "called_at": self._minute(course.called_at),
            "called_by": self.people.name(course.called_by) if course.called_by else None,
            "outcome": self._choice("call", "outcome", course.outcome),
            "told_rule": self._choice("call", "told_rule", course.told_rule),
            "store_notified_at": self._minute(course.store_notified_at),
            "closed_because": self._choice("settled", "because", course.closed_because),
        }

    def _said(self, word: str) -> str:
        return say("expiry", word, self.language)

    def _choice(self, form: str, field: str, code: Any) -> str | None:
        return None if code is None else choice(form, field, str(code).lower(), self.language)

    def _minute(self, instant: datetime | None) -> str:
        return f"{instant.astimezone(self.zone):%Y-%m-%d %H:%M}" if instant else ""


def title_of(month: str, language: Language) -> str:
    return say("expiry", "title", language, month=int(month[5:]), year=month[:4])

"""The register of members: how a record is taken, whichever way it came, and kept sealed."""

import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sqlmodel import Session, col, delete, insert, select

from activities import members
from activities.cases import locked
from activities.keys import COLUMN, KeyRing
from activities.members import AT_ONCE, read_day
from models.audit import Supplement
from models.forms import LEDGER, FieldError
from models.members import MemberRecord, filled
from models.organisation import Who
from models.tables import AuditLineRow, CaseRow, FinderRow, MemberRow
from starter.members.rules import FOUND_BY, GONE, finders_of, found_by_rule, number_of, numbers_of
from starter.refusals import Conflict, Invalid, Refused

if TYPE_CHECKING:
    from starter.members.audits import Audits

Follower = Callable[[Session, datetime, Sequence[str]], None]
"""What hears, within the transaction, of which members something was taken."""


class Taken(NamedTuple):
    """What became of a record: `new`, `changed`, or `known` already; whose it is; the case it has to do with, where there is one."""

    what: Literal["new", "changed", "known"]
    id: str
    case: str | None = None


@dataclass
class Batch:
    """Records that are taken in one transaction: what is known of their numbers, and what is still to be written."""

    finders: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """(kind, number in its normal form) -> members."""
    gone: set[str] = field(default_factory=set)
    """Of those found, the ones whose card is no more in use."""
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    kept: list[dict[str, Any]] = field(default_factory=list)
    """Finders."""
    lines: list[dict[str, Any]] = field(default_factory=list)
    lists: dict[str, str] = field(default_factory=dict)
    """By region: the list that takes lines."""

    def find(self, keys: KeyRing, member: str, whole: Mapping[str, Any]) -> None:
        """Note what a member is found by."""
        for kind, number in finders_of(whole).items():
            self.finders.setdefault((kind, number), set()).add(member)
            self.kept.append({"member_id": member, "kind": kind, "value": members.finder(keys, kind, number)})

    def write(self, session: Session) -> None:
        session.flush()
        for table, rows in (
            (MemberRow, list(self.rows.values())),
            (FinderRow, self.kept),
            (AuditLineRow, self.lines),
        ):
            if rows:
                session.exec(insert(table), params=rows)
        self.rows, self.kept, self.lines = {}, [], []


class Register:
    """What webhook, files and pull have in common. Everything happens within the caller's transaction."""

    def __init__(self, audits: "Audits", keys: KeyRing, people: Who) -> None:
        self._audits = audits
        self._keys = keys
        self._people = people
        self.followers: list[Follower] = []
        """Told of members who are new or changed."""

    def take(self, session: Session, now: datetime, record: MemberRecord) -> Taken:
        """One record. Invalid or Conflict where it cannot be taken."""
        [taken] = self.take_all(session, now, [record])
        if isinstance(taken, Refused):
            raise taken
        return taken

    def take_all(
        self, session: Session, now: datetime, records: Sequence[MemberRecord], existing: bool = False
    ) -> list[Taken | Refused]:
        """Records in their order, each taken or, with nothing written of it, refused. `existing`: members before go-live."""
        batch = self._known(session, records)
        outcomes: list[Taken | Refused] = []
        for record in records:
            try:
                outcomes.append(self._take(session, now, batch, record, existing))
            except Refused as refused:
                outcomes.append(refused)
        batch.write(session)
        touched = [taken.id for taken in outcomes if isinstance(taken, Taken) and taken.what != "known"]
        for follow in self.followers if touched else ():
            follow(session, now, touched)
        return outcomes

    def strangers(self, session: Session, records: Iterable[MemberRecord]) -> int:
        """How many of these nobody here knows."""
        finders = self._known(session, records).finders
        return sum(kind == "number" and not members for (kind, _), members in finders.items())

    def _known(self, session: Session, records: Iterable[MemberRecord]) -> Batch:
        """Who has these numbers, phones and cards already: a query or two for all of them."""
        batch = Batch()
        wanted: dict[str, tuple[str, str]] = {}
        for record in records:
            for kind, number in finders_of(record.model_dump(context=LEDGER)).items():
                batch.finders.setdefault((kind, number), set())
                wanted |= dict.fromkeys(members.finders(self._keys, kind, number), (kind, number))
        values = list(wanted)
        for part in (values[at : at + AT_ONCE] for at in range(0, len(values), AT_ONCE)):
            query = select(FinderRow.value, FinderRow.member_id, MemberRow.standing)
            query = query.join(MemberRow, col(MemberRow.id) == col(FinderRow.member_id))
            for value, member, standing in session.exec(query.where(col(FinderRow.value).in_(part))):
                batch.finders[wanted[value]].add(member)
                if standing in GONE:
                    batch.gone.add(member)
        return batch

    def _take(self, session: Session, now: datetime, batch: Batch, record: MemberRecord, existing: bool) -> Taken:
        number = number_of(record.member_no)
        if self._people.store(record.store) is None:
            raise Invalid([FieldError(field="store", code="unknown_store")])
        sent = filled(record.model_dump(mode="json", context=LEDGER))
        digested = written(sent)
        if known := batch.finders[("number", number)]:
            batch.write(session)  # it may be a later version of one in the same batch
            return self._change(session, now, next(iter(known)), record.version, sent, digested)
        member = f"m-{secrets.token_hex(6)}"
        row = self._row(batch, member, {"sent": sent, "here": {}}, now, existing) | {
            "id": member,
            "version": record.version or 1,
            "digest": self._keys.digest(digested),
            "entered_at": now,
            "existing": existing,
            "clean_at_first": False if not existing else None,
            "case_id": None,
        }
        if not existing:
            row |= self._audits.begin(session, now, batch, member, row, sent)
        batch.rows[member] = row
        batch.find(self._keys, member, sent)
        return Taken("new", member, row["case_id"])

    def _row(
        self, batch: Batch, member: str, document: dict[str, Any], now: datetime, existing: bool
    ) -> dict[str, Any]:
        """What the row of a member says, from what is known of him."""
        whole = members.merged(document)
        return {
            "store": whole["store"],
            "region": self._people.region(whole["store"]),
            "standing": whole.get("standing", "active"),
            "changed_at": now,
            "findings": {} if existing else self._findings(batch, member, whole, now),
            "sealed": self._keys.seal(written(document), COLUMN, members.place(member)),
            "keys": self._keys.writing,
            **{name: read_day(whole.get(name)) for name in ("joined_on", "valid_from", "valid_through")},
        }

    def _findings(self, batch: Batch, member: str, whole: Mapping[str, Any], now: datetime) -> dict[str, str]:
        """By the rules, and by comparison with everybody else (5.3 E48)."""
        found = found_by_rule(whole, self._audits.intake, self._audits.day(now))
        for kind, number in numbers_of(whole).items():
            others = batch.finders.get((kind, number), set()) - batch.gone - {member}
            if others and whole.get("standing", "active") not in GONE:
                found.setdefault(FOUND_BY[kind], "duplicate")
        return found

    # A later version

    def _change(
        self, session: Session, now: datetime, member: str, version: int | None, sent: dict[str, Any], digested: bytes
    ) -> Taken:
        """A version that is not later is known (5.3 E50); a later one changes the record, and moves the audit it is in.

        A source that does not count versions has a later one whenever it says something else.
        """
        case, row = self.locked(session, member)
        same = self._keys.matches(row.digest, digested)
        if version == row.version and not same:
            raise Conflict("version_taken", version=str(version))
        version = version or row.version + (not same)
        if version <= row.version:
            return Taken("known", member, row.case_id)
        row.version, row.digest = version, self._keys.digest(digested)
        self.keep(session, now, row, {**members.unsealed(row, self._keys), "sent": sent})
        if case and case.state == "open":
            self._audits.go_on(session, now, case, row)
        return Taken("changed", member, row.case_id)

    def locked(self, session: Session, member: str) -> tuple[CaseRow | None, MemberRow]:
        """A member and the case he is in, both to ourselves: the case first, as everybody does."""
        in_case = session.exec(select(MemberRow.case_id).where(MemberRow.id == member)).one()
        case = locked(session, in_case) if in_case else None
        query = select(MemberRow).where(MemberRow.id == member).with_for_update()
        return case, session.exec(query.execution_options(populate_existing=True)).one()

    def supplement(self, session: Session, now: datetime, row: MemberRow, form: Supplement) -> None:
        """Keep what was filled in here: it stands until the member system says something else of that field."""
        document = members.unsealed(row, self._keys)
        sent, here = document["sent"], dict(document["here"])
        given: dict[str, Any] = dict(form.given)
        if form.declined:
            given["declined"] = sorted({*members.merged(document).get("declined", ()), *form.declined})
        here |= {name: {"value": value, "instead_of": sent.get(name)} for name, value in given.items()}
        self.keep(session, now, row, {**document, "here": here}, form.confirmed)

    def keep(
        self,
        session: Session,
        now: datetime,
        row: MemberRow,
        document: dict[str, Any],
        confirmed: Sequence[str] = (),
    ) -> None:
        """Keep what is known of a member now, and what is wanting in it. What an auditor rejected is wanting until it changes."""
        before, whole = members.whole(row, self._keys), members.merged(document)
        batch = self._known(session, [MemberRecord.model_validate(whole)])
        fresh = self._row(batch, row.id, document, now, row.existing)
        for name, problem in row.findings.items():
            if problem == "rejected" and name not in confirmed and whole.get(name) == before.get(name):
                fresh["findings"].setdefault(name, "rejected")
        for name, value in fresh.items():
            setattr(row, name, value)
        session.exec(delete(FinderRow).where(col(FinderRow.member_id) == row.id))
        batch.find(self._keys, row.id, whole)
        batch.write(session)


def written(document: Mapping[str, Any]) -> bytes:
    """What is sealed, and what a digest is of: the same bytes for the same content."""
    return json.dumps(document, ensure_ascii=False, sort_keys=True).encode()

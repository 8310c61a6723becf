"""The member system itself, asked: by three SELECTs that only read, or by HTTP as `docs/member-system.json` describes it."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeVar

import httpx2
import structlog
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from sqlalchemy import Date, DateTime, Engine, String, bindparam, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from activities.members import read_day
from models.forms import Private, Text
from models.members import Member, MemberRecord, Purchase, PurchaseRecord, month_days
from starter.members.telling import mark_of

M = TypeVar("M", bound=BaseModel)

WITHIN = 30.0
"""Seconds the member system may take for one answer."""
PART = 500

log = structlog.get_logger()


class SourceFailed(Exception):
    """The member system did not answer, or not as described. Nothing of the answer is repeated."""


class BadSource(ValueError):
    """The file that says how to ask cannot be used: which file, and why."""


class SqlSource(BaseModel):
    """Three SELECTs. Their columns are called as the fields of a member's or a receipt's record."""

    model_config = ConfigDict(extra="forbid")
    url: SecretStr
    changed: str
    """With :since, an instant (UTC)."""
    expiring: str
    """With :first and :last, days, both in it; the same columns as `changed`: one version has one content."""
    purchases: str
    """With :member_no, and :since and before :until, instants."""


class HttpSource(BaseModel):
    """Where the member system answers, and the token it wants."""

    model_config = ConfigDict(extra="forbid")
    url: str = Field(pattern=r"^https?://")
    token: SecretStr | None = None


class Source(BaseModel):
    """What the file of KEFU_MEMBER_SOURCE says: one of the two."""

    model_config = ConfigDict(extra="forbid")
    sql: SqlSource | None = None
    http: HttpSource | None = None

    @model_validator(mode="after")
    def _is_one(self) -> "Source":
        if (self.sql is None) == (self.http is None):
            raise ValueError("say either [sql] or [http]")
        return self


def source_of(file: Path) -> "Asked":
    """The member system as a file describes it. BadSource names the file and the reason, and repeats no password."""
    try:
        said = Source.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BadSource(f"{file}: {error}") from error
    except ValidationError as error:
        errors = error.errors(include_input=False, include_url=False)
        raise BadSource(
            f"{file}: " + "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in errors)
        ) from None
    return SqlMembers(said.sql) if said.sql else HttpMembers(said.http)  # type: ignore[arg-type]


def member_of(record: MemberRecord) -> Member:
    return Member(
        id=record.member_no,
        version=record.version or 1,
        store=record.store,
        region=None,
        joined_on=read_day(record.joined_on),
        valid_from=read_day(record.valid_from),
        valid_through=read_day(record.valid_through),
        standing=record.standing,
        record=record,
    )


def netted(records: list[PurchaseRecord]) -> list[Purchase]:
    """Orders, each net of the refunds among these records."""
    back: dict[str, Decimal] = {}
    for record in records:
        if record.refund_of:
            back[record.refund_of] = back.get(record.refund_of, Decimal(0)) + record.amount
    return [
        Purchase(
            receipt=record.receipt,
            member=record.member_no,
            store=record.store,
            at=record.at,
            paid=record.amount,
            refunded=min(back.get(record.receipt, Decimal(0)), record.amount),
        )
        for record in sorted(records, key=lambda record: (record.at, record.receipt))
        if record.refund_of is None
    ]


class Asked:
    """What both have in common: records into the answers of `Members`."""

    name: Literal["sql", "http"]

    def __init__(self) -> None:
        self._unfit: list[bytes] = []

    def unfit(self) -> list[bytes]:
        """The marks of the records that could not be read since this was asked last: one of them holds up no other."""
        marks, self._unfit = self._unfit, []
        return marks

    def records(self, question: Literal["changed", "expiring"], **values: Any) -> Iterator[MemberRecord]:
        raise NotImplementedError

    def receipts(self, member: str, since: datetime, until: datetime) -> list[PurchaseRecord]:
        """A member's receipts in a period, and every refund of them."""
        raise NotImplementedError

    def changed(self, since: datetime) -> Iterator[Member]:
        return map(member_of, self.records("changed", since=since))

    def expiring(self, month: str) -> Iterator[Member]:
        first, following = month_days(month)
        last = date.fromordinal(following.toordinal() - 1)
        return map(member_of, self.records("expiring", first=first, last=last))

    def purchases(self, member: str, since: datetime, until: datetime) -> list[Purchase]:
        return [one for one in netted(self.receipts(member, since, until)) if since <= one.at < until]

    def _fitted(self, model: type[M], given: Iterable[Mapping[str, Any]]) -> Iterator[M]:
        for record in given:
            try:
                yield model.model_validate({name: value for name, value in record.items() if value is not None})
            except ValidationError as error:
                self._unfit.append(mark_of(repr(sorted(record.items()))))
                fields = {".".join(map(str, found["loc"])) for found in error.errors(include_input=False)}
                log.warning("members.unfit", fields=sorted(fields & model.model_fields.keys()))


class SqlMembers(Asked):
    """A database of the chain that we may read: any that SQLAlchemy has a driver for. Nothing is ever committed there."""

    name = "sql"

    def __init__(self, source: SqlSource) -> None:
        super().__init__()
        self._source = source
        self._engine = _reading_only(source.url.get_secret_value())

    def records(self, question: Literal["changed", "expiring"], **values: Any) -> Iterator[MemberRecord]:
        return self._fitted(MemberRecord, map(_texts, self._rows(getattr(self._source, question), values)))

    def receipts(self, member: str, since: datetime, until: datetime) -> list[PurchaseRecord]:
        values = {"member_no": member, "since": since, "until": until}
        return list(self._fitted(PurchaseRecord, self._rows(self._source.purchases, values)))

    def _rows(self, question: str, values: dict[str, Any]) -> Iterator[Mapping[str, Any]]:
        given = {name: value for name, value in values.items() if f":{name}" in question}
        asked = text(question).bindparams(*(bindparam(name, type_=_type(value)) for name, value in given.items()))
        try:
            with self._engine.connect() as connection:
                found = connection.execution_options(stream_results=True).execute(asked, given)
                yield from (dict(row) for row in found.mappings().yield_per(PART))
                connection.rollback()
        except SQLAlchemyError as error:
            raise SourceFailed(type(error).__name__) from error


def _reading_only(url: str) -> Engine:
    try:
        engine = create_engine(make_url(url), hide_parameters=True, pool_pre_ping=True, pool_size=1, max_overflow=0)
    except (ArgumentError, ImportError) as error:
        raise BadSource(f"sql.url: {type(error).__name__}") from None
    if engine.dialect.name == "postgresql":
        return engine.execution_options(postgresql_readonly=True)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _query_only(connection: Any, _record: object) -> None:
            connection.execute("PRAGMA query_only=ON")

    return engine


class Part(Private):
    """A part of an answer, and the mark of the next one; no mark, no more."""

    items: list[dict[str, Any]]
    cursor: Text | None = None


class HttpMembers(Asked):
    """The chain's own service. Numbers of members are in bodies, never in addresses: those stand in logs."""

    name = "http"

    def __init__(self, source: HttpSource) -> None:
        super().__init__()
        token = source.token
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
        self._client = httpx2.Client(base_url=source.url, headers=headers, timeout=WITHIN)

    def records(self, question: Literal["changed", "expiring"], **values: Any) -> Iterator[MemberRecord]:
        return self._fitted(MemberRecord, self._items(f"/members/{question}", values))

    def receipts(self, member: str, since: datetime, until: datetime) -> list[PurchaseRecord]:
        values = {"member_no": member, "since": since, "until": until}
        return list(self._fitted(PurchaseRecord, self._items("/purchases", values)))

    def _items(self, path: str, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
        asked = {name: value.isoformat() if isinstance(value, date) else value for name, value in values.items()}
        cursor: str | None = None
        while True:
            part = self._part(path, {**asked, "limit": PART, **({"cursor": cursor} if cursor else {})})
            yield from part.items
            if (cursor := part.cursor) is None:
                return

    def _part(self, path: str, asked: dict[str, Any]) -> Part:
        try:
            answer = self._client.post(path, json=asked)
            answer.raise_for_status()
            return Part.model_validate_json(answer.content)
        except (httpx2.HTTPError, ValidationError) as error:
            raise SourceFailed(type(error).__name__) from error


def _type(value: Any) -> Any:
    """As the database compares it: an instant as UTC, a day as a day."""
    return DateTime(timezone=True) if isinstance(value, datetime) else Date() if isinstance(value, date) else String()


def _texts(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its values as records have them: days and numbers as text."""
    kept = {name: value for name, value in row.items() if value is not None}
    return {name: value if name in ("version", "declined") else str(value) for name, value in kept.items()}

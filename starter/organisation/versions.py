"""Versions of the organisation: each whole and sealed, none ever changed; what differs between two."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, SecretStr, ValidationError
from sqlmodel import Session, col, func, select

from activities.keys import COLUMN, KeyRing
from models.forms import FieldError
from models.organisation import Directory
from models.people import Person, Role
from models.reach import masked
from models.tables import OrganisationRow
from models.words import knows
from starter.organisation import posts
from starter.refusals import Conflict, Forbidden, Invalid, field_errors

MAY_CHANGE = frozenset({Role.MANAGER, Role.ADMINISTRATOR})
MAY_READ = MAY_CHANGE | {Role.DIRECTOR, Role.SPECIALIST}
ADDRESSES = "channels"
"""The field of a person that is his to show: of others, only those who may change the organisation see more than the kind."""


class Change(BaseModel):
    """What differs of one person, store or absence: each field before and after; both None where it came or went."""

    kind: Literal["person", "store", "absence", "setting"]
    id: str
    what: Literal["added", "removed", "changed"]
    fields: dict[str, tuple[Any, Any]] = {}


class Version(BaseModel):
    """A version of the organisation: when, by whom, what was done, and how it differs from the one before."""

    version: int
    at: datetime
    by: str
    what: str
    changes: list[Change] = []


def seen_by(reader: Person, directory: Directory) -> Directory:
    """The organisation as this person may see it: how others are reached is masked."""
    people = tuple(
        one if _sees(reader, one.id) else one.model_copy(update={ADDRESSES: tuple(map(masked, one.channels))})
        for one in directory.people
    )
    return directory.model_copy(update={"people": people})


def _sees(reader: Person, person: str) -> bool:
    return reader.role in MAY_CHANGE or reader.id == person


def _change_seen_by(reader: Person, change: Change) -> Change:
    """That somebody is reached otherwise is seen by all who see the change; where, as `seen_by` has it."""
    if change.kind != "person" or ADDRESSES not in change.fields or _sees(reader, change.id):
        return change
    was, is_now = (
        [masked(SecretStr(one)).get_secret_value() for one in addresses] for addresses in change.fields[ADDRESSES]
    )
    return change.model_copy(update={"fields": {**change.fields, ADDRESSES: (was, is_now)}})


def differences(before: Directory | None, after: Directory) -> list[Change]:
    """What a new version changes, by store, person and absence."""
    found: list[Change] = []
    old, new = (_items(directory) if directory else {} for directory in (before, after))
    for key in sorted(old.keys() | new.keys()):
        kind, named = key
        was, is_now = old.get(key), new.get(key)
        if was is None or is_now is None:
            found.append(Change(kind=kind, id=named, what="added" if was is None else "removed"))
        elif fields := {name: (was[name], is_now[name]) for name in is_now if was[name] != is_now[name]}:
            found.append(Change(kind=kind, id=named, what="changed", fields=fields))
    return found


def _items(directory: Directory) -> dict[tuple[Any, str], dict[str, Any]]:
    document = directory.model_dump(mode="json")
    return {
        **{("store", one["code"]): one for one in document["stores"]},
        **{("person", one["id"]): one for one in document["people"]},
        **{("absence", f"{one['person']}/{one['since']}"): one for one in document["absences"]},
        ("setting", "zone"): {"zone": document["zone"]},
        ("setting", "regions"): {"regions": document["regions"]},
    }


def latest(session: Session) -> int:
    """The latest version's number; 0 where the organisation is still the file's."""
    return session.exec(select(func.max(OrganisationRow.version))).one() or 0


def keep(
    session: Session, keys: KeyRing, directory: Directory, by: Person, what: str, now: datetime, instead_of: int | None
) -> int:
    """Write the next version. Conflict where another one came meanwhile than the one it is made `instead_of`."""
    if by.role not in MAY_CHANGE:
        raise Forbidden("may_not_organise", role=by.role)
    last = latest(session)
    if instead_of is not None and last != instead_of:
        raise Conflict("organisation_changed", version=str(last))
    sealed = keys.seal(directory.model_dump_json().encode(), COLUMN, f"organisation/{now.isoformat()}")
    session.add(OrganisationRow(version=last + 1, at=now, by=by.id, what=what, sealed=sealed, key=keys.writing))
    return last + 1


def validated(document: Mapping[str, Any]) -> Directory:
    """An organisation as somebody gave it. Invalid names every field with its reason."""
    try:
        directory = Directory.model_validate(document)
    except ValidationError as error:
        raise Invalid(errors_of(error)) from error
    if found := posts.unknown(directory):
        raise Invalid([_unfit(one.place, one.said) for one in found])
    return directory


def errors_of(error: ValidationError) -> list[FieldError]:
    """Where the document does not hold, and why."""
    found = zip(error.errors(), field_errors(error.errors(), Directory), strict=True)
    return [_known(said, e["msg"]) for e, said in found]


def _known(said: FieldError, message: str) -> FieldError:
    """What the catalogue has no word for is said as pydantic says it."""
    at = said.field or "organisation"
    return said.model_copy(update={"field": at}) if knows("field", said.code) else _unfit((at,), message)


def _unfit(place: tuple[str | int, ...], reason: str) -> FieldError:
    return FieldError(field=".".join(map(str, place)) or "organisation", code="unfit", values={"reason": reason})


def history(
    session: Session,
    reader: Person,
    read: Callable[[Session, int], Directory],
    limit: int,
    before: int | None = None,
) -> list[Version]:
    """Versions, the latest first, each with what it changed, as this person may see it."""
    rows: Iterable[OrganisationRow] = session.exec(
        select(OrganisationRow)
        .where(col(OrganisationRow.version) < before if before else col(OrganisationRow.version) > 0)
        .order_by(col(OrganisationRow.version).desc())
        .limit(limit)
    )
    found = []
    for row in rows:
        assert row.version is not None
        earlier = read(session, row.version - 1) if row.version > 1 else None
        changes = [_change_seen_by(reader, one) for one in differences(earlier, read(session, row.version))]
        found.append(Version(version=row.version, at=row.at, by=row.by, what=row.what, changes=changes))
    return found

"""What a door can say instead of taking something.

Refused
├── Unauthenticated  401  nobody we know
├── Forbidden        403  not with this role
├── NotFound         404  no such case, task or submission
├── Conflict         409  against the order of things, or a number or key used before
├── TooLarge         413  a body over the limit
├── Invalid          422  a field that does not hold: which, and why
├── Busy             503  the ledger cannot be written right now; nothing was taken
└── Full             507  the ledger's disk is full; nothing was taken
"""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar, get_args

from psycopg.errors import DiskFull
from pydantic import BaseModel
from pydantic_core import ErrorDetails
from sqlalchemy.exc import OperationalError

from models.forms import FieldError
from models.words import LIST, Language, option, say

CODE = re.compile(r"'([^']*)'")
"""A code that might have been typed, as pydantic lists them."""


class Refused(Exception):
    """Base: a code of the catalogue, the values of its sentence, and the HTTP status."""

    status: ClassVar[int]

    def __init__(self, code: str, **values: str) -> None:
        super().__init__(code)
        self.code = code
        self.values = values


class Unauthenticated(Refused):
    status = 401


class Forbidden(Refused):
    status = 403


class NotFound(Refused):
    status = 404


class Conflict(Refused):
    status = 409


class TooLarge(Refused):
    status = 413


class Invalid(Refused):
    status = 422

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("invalid")
        self.errors = errors


def field_errors(errors: Iterable[ErrorDetails], model: Any = None) -> list[FieldError]:
    """pydantic's errors as people read them: the field and the reason, without what was sent.

    The name of a field that there is not may be a piece of that, too: its place is named, what `model` has there, and what
    was probably meant.
    """
    found = []
    for error in errors:
        place = [str(part) for part in error["loc"] if part not in ("body", "query", "path", "header")]
        values = {name: str(value) for name, value in error.get("ctx", {}).items() if name != "error"}
        if error["type"] == "extra_forbidden":
            *above, wrong = place
            known = _fields_at(model, above)
            near = get_close_matches(wrong, known, 1)
            values |= {"known": ", ".join(known)} | ({"meant": ".".join([*above, *near])} if near else {})
            place = above
        if "expected" in values:
            values |= {"expected": values["expected"].replace(" or ", ", "), "form": getattr(model, "form", "")}
        found.append(
            FieldError(field=".".join(place) or str(next(iter(error["loc"]), "")), code=error["type"], values=values)
        )
    return found


def reason_of(error: FieldError, language: Language = "zh") -> str:
    """Why a field does not hold, in the reader's language: of a coded one with the codes and what they are called."""
    values = dict(error.values)
    if codes := CODE.findall(values.get("expected", "")):
        field = next((part for part in reversed(error.field.split(".")) if not part.isdigit()), "")
        options = (option(values.get("form", ""), field, code, language) for code in codes)
        values["expected"] = LIST[language].join(options)
    return say("field", "misspelt" if "meant" in values else error.code, language, **values)


def _fields_at(model: Any, place: Sequence[str]) -> list[str]:
    for part in place:
        if not part.isdigit():  # one of several
            field = model.model_fields.get(part) if model else None
            model = next(_models_in(field.annotation), None) if field else None
    return list(model.model_fields) if model else []


def _models_in(kind: Any) -> Iterator[type[BaseModel]]:
    """The models a field may hold, one or several of them."""
    if isinstance(kind, type) and not get_args(kind) and issubclass(kind, BaseModel):
        yield kind
    for inner in get_args(kind):
        yield from _models_in(inner)


class Busy(Refused):
    status = 503


class Full(Refused):
    status = 507


def of_ledger(error: OperationalError) -> Refused:
    """What a failure of the ledger's database means for the sender."""
    cause = error.orig
    full = isinstance(cause, DiskFull) or getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return Full("full") if full else Busy("busy")


__all__ = [
    "Busy",
    "Conflict",
    "FieldError",
    "Forbidden",
    "Full",
    "Invalid",
    "NotFound",
    "Refused",
    "TooLarge",
    "Unauthenticated",
    "field_errors",
    "of_ledger",
    "reason_of",
]

"""What a door can say instead of taking something.

Refused
├── Unauthenticated  401  nobody we know
├── Forbidden        403  not with this role
├── NotFound         404  no such case, task or submission
├── Conflict         409  against the order of things, or a number or key used before
├── TooLarge         413  a body over the limit
├── Invalid          422  a field that does not hold: which, and why
└── Busy             503  the ledger cannot be written right now; nothing was taken
"""

from typing import ClassVar

from models.forms import FieldError


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


class Busy(Refused):
    status = 503


__all__ = [
    "Busy",
    "Conflict",
    "FieldError",
    "Forbidden",
    "Invalid",
    "NotFound",
    "Refused",
    "TooLarge",
    "Unauthenticated",
]

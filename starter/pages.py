"""Parts of long lists: which one is asked for, and where the next begins."""

import base64
import json
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator
from pydantic_core import PydanticCustomError

from models.forms import FieldError
from starter.refusals import Invalid

Item = TypeVar("Item")


_PARTS = TypeAdapter(list[str])


class Part(BaseModel):
    """Which part of a list. A parameter that there is not is refused: mistyped, it would show everything."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(default=None, max_length=500)

    @model_validator(mode="before")
    @classmethod
    def _knows_them_all(cls, given: Any) -> Any:
        known = [field.alias or name for name, field in cls.model_fields.items()]
        if not given.keys() <= set(known):
            raise PydanticCustomError("unknown_parameter", "must be one of {known}", {"known": ", ".join(known)})
        return given


class Page(BaseModel, Generic[Item]):
    """A part of a list, the cursor of the next part, and how much there is beyond this one; no cursor, no more."""

    items: list[Item]
    cursor: str | None = None
    more: int = 0


def cursor_of(*parts: str) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


def read_cursor(cursor: str, size: int) -> list[str]:
    """The parts of a cursor, the first of them an instant or a number, as `_cursor` wrote them."""
    try:
        parts = _PARTS.validate_json(base64.urlsafe_b64decode(cursor))
    except ValueError as error:
        raise _bad_cursor() from error
    if len(parts) != size or "\0" in "".join(parts):
        raise _bad_cursor()
    return parts


def instant_of(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _bad_cursor() from error


def whole_of(text: str) -> int:
    """A row's number: one that every database's column could hold."""
    if not text.isdecimal() or len(text) > 9:
        raise _bad_cursor()
    return int(text)


def _bad_cursor() -> Invalid:
    return Invalid([FieldError(field="cursor", code="bad_cursor")])

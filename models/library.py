"""What the case library says of a case (handbook 3.4): in the clear, to be searched, and with nothing of a customer in it."""

import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from models.forms import Private


def _clean(text: str) -> str:
    """Without control characters, which no person types and not every database keeps."""
    kept = "".join(char for char in text if char in "\n\t" or unicodedata.category(char) != "Cc").strip()
    if not kept:
        raise PydanticCustomError("string_too_short", "must not be empty")
    return kept


Short = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80), AfterValidator(_clean)]
Long = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000), AfterValidator(_clean)]
Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20), AfterValidator(_clean)]


class EntryText(Private):
    """What an entry says. `for_meeting` puts it on the agenda of the next Friday meeting."""

    title: Short
    problem: Long
    solution: Long
    tags: Annotated[list[Tag], Field(max_length=8), AfterValidator(lambda tags: list(dict.fromkeys(tags)))] = []
    for_meeting: bool = False

    @property
    def texts(self) -> dict[str, Any]:
        return self.model_dump(include={"title", "problem", "solution", "tags"})

"""What happened to a complaint beside the straight way, line by line: who asked, decided, answered, corrected, and what it said."""

from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from models.complaint import COMPLAINT
from models.complaint.facts import Customer
from models.forms import HIDDEN
from models.organisation import Who
from models.words import SEPARATOR, Language, choice, label, say
from starter.papers.masks import masked
from starter.shown import TimelineEntry

ELSEWHERE = (
    *("open", "back_again", "reply", "solution", "consent", "execution", "callback", "record", "solve"),
    *("extend", "reassign"),
)
"""What has a part of the form to itself."""

Line = tuple[datetime, str, str, str]
"""When, what, by whom, and what it said."""


class Course:
    """Reads a case's timeline. `at` and `span` say instants and lengths of time as the form does."""

    def __init__(self, people: Who, language: Language, mask: bool, at: Callable[[datetime], str]) -> None:
        self._people = people
        self._language = language
        self._mask = mask
        self._at = at

    def lines(self, timeline: list[TimelineEntry]) -> Iterator[Line]:
        """Each submission once, and each time the case was begun anew."""
        told: set[str] = set()
        for entry in timeline:
            if entry.kind == "cycle":
                yield entry.at, self._say("paper", "handling_again", n=entry.data["cycle"]), "", ""
            if not entry.submission or entry.submission in told or entry.form in (*ELSEWHERE, None):
                continue
            told.add(entry.submission)
            name = self._people.name(entry.by) if entry.by else ""
            yield entry.at, self._say("form", str(entry.form)), name, self._said(str(entry.form), entry.content or {})

    def _said(self, form: str, content: dict[str, Any]) -> str:
        model = COMPLAINT.recordable[form]
        known = model.model_validate(content)
        said = {name: getattr(known, name) for name, field in model.model_fields.items() if name != "due"}
        left_out = [name for name, field in model.model_fields.items() if not field.is_required()]
        shown = {name: value for name, value in said.items() if name not in left_out or value not in (None, False, ())}
        return SEPARATOR[self._language].join(self._field(form, name, value) for name, value in shown.items())

    def _field(self, form: str, name: str, value: Any) -> str:
        if isinstance(value, Customer) and self._mask:
            value = masked(value)
        if isinstance(value, BaseModel):
            inner = value.model_dump(context="ledger", exclude_none=True)
            return SEPARATOR[self._language].join(
                self._field("complaint", f"{name}.{field}", said) for field, said in inner.items()
            )
        called, said = label(form, name, self._language), self._value(form, name, value)
        return say("letter", "line", self._language, label=called, value=said)

    def _value(self, form: str, name: str, value: Any) -> str:
        if value == HIDDEN:
            return self._say("paper", "erased_text")
        if isinstance(value, datetime):
            return self._at(value)
        if isinstance(value, Decimal):
            return f"¥{value:,.2f}"
        if isinstance(value, bool):
            return choice(form, name, str(value).lower(), self._language)
        if name == "about_employee":
            return self._people.name(value)
        return choice(form, name, str(value), self._language)

    def _say(self, section: str, code: str, **values: Any) -> str:
        return say(section, code, self._language, **values)

"""The audit by rule: what a machine can find wanting in a member's record (handbook 4.1, 3.3 F1)."""

import re
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from typing import Any

from activities.members import read_day
from models.audit import FOR_THE_STORE, AuditIntake
from models.forms import FieldError
from starter.numbers import folded, normal
from starter.refusals import Invalid

DAYS = ("birth_date", "joined_on", "valid_from", "valid_through")
FOUND_BY = {"phone": "phone", "card": "card_no"}
"""What finds a member besides his number, and the field that holds it."""
GONE = frozenset({"left", "replaced", "lost"})
"""A card of this standing has no phone and no number that another member could not have."""
NO = frozenset({"no", "n", "false", "0", "否", "不同意", "无", "×"})

SEEN = 4096
"""Numbers remembered: each is asked for several times while its record is taken."""


@lru_cache(SEEN)
def number_of(text: str) -> str:
    """A member number as every spelling of it comes out. Invalid where nothing is left of it."""
    plain = re.sub(r"[\W_]", "", folded(text)).upper()
    if not plain:
        raise Invalid([FieldError(field="member_no", code="missing")])
    return plain


def numbers_of(record: Mapping[str, Any]) -> dict[str, str]:
    """Phone and card in their normal forms, where they have one."""
    found = {kind: _normal(kind, record.get(field)) for kind, field in FOUND_BY.items()}
    return {kind: number for kind, number in found.items() if number}


def finders_of(record: Mapping[str, Any]) -> dict[str, str]:
    """All that a member is found by, in normal forms."""
    try:
        return {"number": number_of(record["member_no"]), **numbers_of(record)}
    except Invalid:
        return numbers_of(record)


@lru_cache(SEEN)
def _normal(kind: str, text: str | None) -> str | None:
    try:
        return normal(kind, text) if text else None  # type: ignore[arg-type]
    except Invalid:
        return None


def found_by_rule(record: Mapping[str, Any], intake: AuditIntake, today: date) -> dict[str, str]:
    """What is wrong with which field of a record, others' records apart."""
    open_fields = intake.required - (intake.may_decline & set(record.get("declined", ())))
    found: dict[str, str] = {field: "missing" for field in sorted(open_fields) if not record.get(field)}
    if str(record.get("consent", "")).strip().casefold() in NO:
        found["consent"] = "missing"
    for kind, field in {**FOUND_BY, "email": "email"}.items():
        if (text := record.get(field)) and _normal(kind, text) is None:
            found[field] = "malformed"
    days = {field: read_day(record.get(field)) for field in DAYS}
    for field, day in days.items():
        if record.get(field) and day is None:
            found[field] = "malformed"
    born, begins, ends = days["birth_date"], days["valid_from"], days["valid_through"]
    if born and born > today:
        found["birth_date"] = "malformed"
    elif born and _age(born, today) < intake.minor_below:
        found["birth_date"] = "minor"
    if begins and ends and ends < begins:
        found["valid_through"] = "malformed"
    return found


def for_the_store(findings: Mapping[str, str]) -> tuple[str, ...]:
    """The fields that the store can put right."""
    return tuple(sorted(field for field, problem in findings.items() if problem in FOR_THE_STORE))


def _age(born: date, today: date) -> int:
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))

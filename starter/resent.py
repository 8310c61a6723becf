"""A store's form that its system sends again under its number, corrected: its case is amended, none is opened (5.2 E27 b)."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from models.complaint.facts import Complaint
from models.complaint.forms import Amend
from models.forms import LEDGER, Case
from models.people import Person, Role
from models.tables import CaseRow, SubmissionRow
from models.tasks import OPENING
from starter.facts import Said, laid_over

GROUPS = ("customer", "goods")


class Otherwise(NamedTuple):
    """What a form says otherwise than those its sender has sent before it; and the fields that no amendment can change."""

    form: Amend
    cannot: list[str]

    @property
    def is_amendment(self) -> bool:
        return bool(self.form.model_fields_set) and not self.cannot


def sends_again(case: CaseRow, opening: SubmissionRow, facts: Case, by: Person) -> bool:
    """Whether this may be the form of an open case once more: from the account that sent it, of the same receipt. A number
    that somebody has typed wrongly is another matter."""
    return (
        isinstance(facts, Complaint)
        and by.role is Role.STORE
        and (opening.by, opening.form, case.state) == (by.id, OPENING, "open")
        and datetime.fromisoformat(opening.outline["received_at"]) == facts.received_at
    )


def otherwise(sent: Sequence[Said], facts: Case) -> Otherwise:
    """How a form differs from those that its sender has `sent`, the opening first."""
    (_, opened), *amended = sent
    before, now = laid_over(opened, amended), facts.model_dump(mode="json", context=LEDGER, exclude_none=True)
    said: dict[str, Any] = {}
    cannot: list[str] = []
    for name, what in _differences(before, now):
        group, dot, field = name.partition(".")
        if what is None or group not in Amend.model_fields:
            cannot.append(name)
        elif dot:
            said.setdefault(group, {})[field] = what
        else:
            said[name] = what
    return Otherwise(Amend.model_validate(said), cannot)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """What is said otherwise now, by dotted names; None for what is not said any more."""
    for name in [*now, *(name for name in before if name not in now)]:
        if name in GROUPS:
            yield from _differences(before.get(name) or {}, now.get(name) or {}, f"{name}.")
        elif now.get(name) != before.get(name):
            yield within + name, now.get(name)

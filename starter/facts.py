"""What is so of a complaint by now: what it was opened with, and over it what was corrected and supplied since."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from sqlmodel import Session, col, select

from models.complaint.facts import Complaint
from models.complaint.forms import Amend, BackAgain, Supplement
from models.forms import HIDDEN
from models.people import MAILBOX
from models.tables import SubmissionRow
from models.tasks import OPENING

ALL = frozenset(Complaint.model_fields)
MATTER = frozenset({"content", "demand"})
CORRECTING = {
    Amend.form: ALL,
    Supplement.form: ALL,
    BackAgain.form: frozenset({*Amend.model_fields, "purchased_on"}) - MATTER,  # what he is back with stands beside it
}
"""The forms that say what is so, and of which facts each says it."""

Said = tuple[str, Mapping[str, Any]]
"""A form, and its contents."""


def corrects(form: str | None, by: str | None) -> bool:
    """Whether a form says what is so. What the customer writes later goes on with the matter: it stands in the course."""
    return form in CORRECTING and by != MAILBOX.id


def corrections(rows: Iterable[SubmissionRow]) -> list[SubmissionRow]:
    """Of what was sent to a complaint, what corrects it: not what is undecided, or was refused."""
    return [row for row in rows if row.state == "decided" and corrects(row.form, row.by)]


def laid_over(facts: Mapping[str, Any], corrections: Iterable[Said]) -> dict[str, Any]:
    """The facts with each correction over them, in its turn: only what it says, of the customer and the goods field by field."""
    known = dict(facts)
    for form, correction in corrections:
        for name, said in correction.items():
            if name in CORRECTING[form] and said is not None:
                known[name] = {**(known.get(name) or {}), **said} if isinstance(said, Mapping) else said
    return known


def corrected(facts: Mapping[str, Any], corrections: Iterable[Said]) -> list[str]:
    """The fields, dotted, that say otherwise than the opening did, or that it left open. Of erased texts nobody can tell any
    more: they count as said."""
    before, since = flat(facts), flat(laid_over({}, corrections))
    return sorted(name for name, said in since.items() if said == HIDDEN or said != before.get(name))


def flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts by dotted names."""
    return dict(_leaves(facts))


def _leaves(facts: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    for name, said in facts.items():
        if isinstance(said, Mapping):
            yield from _leaves(said, f"{within}{name}.")
        else:
            yield f"{within}{name}", said


def facts_now(session: Session, case: str, read: Callable[[SubmissionRow], Mapping[str, Any]]) -> dict[str, Any]:
    """The facts of a case by what was decided in it. `read` opens a form, or takes of it what is not private."""
    sent = select(SubmissionRow).where(
        SubmissionRow.case_id == case, col(SubmissionRow.form).in_((OPENING, *CORRECTING))
    )
    rows = list(session.exec(sent.order_by(col(SubmissionRow.recorded_at))))
    [opening] = [row for row in rows if row.form == OPENING]
    return laid_over(read(opening), [(row.form, read(row)) for row in corrections(rows)])

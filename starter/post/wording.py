"""What a notice says, in the inbox and outside: what, whose, since when, what to do, where. Nothing of a customer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from models.organisation import Who
from models.tables import NoticeRow
from models.words import LIST, SEPARATOR, Language, say
from starter.access import CAN_BE_ASKED

INSTANTS = frozenset({"due_at", "due_before", "anchored_at", "planned_at", "since"})
"""Names under which the ledger's documents hold instants, UTC."""


def spoken(values: Mapping[str, Any], zone: ZoneInfo) -> dict[str, Any]:
    """The values of a sentence as people say them: instants in the calendar's zone, to the minute."""
    return {
        name: _minute(datetime.fromisoformat(value), zone) if name in INSTANTS else value
        for name, value in values.items()
    }


def sentence(
    row: NoticeRow,
    number: str | None,
    language: Language,
    people: Who,
    zone: ZoneInfo,
    of_room: tuple[str, Mapping[str, Any]] | None = None,
) -> str:
    """What a notice says. `number` is its case's business number; `of_room` a sentence of its process, and its values."""
    what, said = of_room or (row.what, {})
    values = {
        **said,
        "number": LIST[language].join([number, *row.data.get("also", ())]) if number else number,
        "form": row.task or row.data.get("form", ""),
        **row.data.get("values", {}),
        **spoken(row.data, zone),
    }
    values |= {who: people.name(values[who]) for who in ("owner", "person", "by", "before") if who in values}
    if row.what == "alarm":
        values |= {"what": say("alarm", row.data["alarm"], language), "cases": " ".join(row.data["cases"])}
    if row.what == "refused":
        values["reason"] = say("refusal", row.data["code"], language, **spoken(row.data["values"], zone))
    if row.what == "morning":
        shares = (
            say("post", "share", language, name=people.name(owner), due=due, overdue=overdue)
            for owner, (due, overdue) in row.data["owners"].items()
        )
        values["owners"] = SEPARATOR[language].join(shares)
    if "whose" in row.data:
        whose = (say("post", "of", language, name=people.name(who), n=n) for who, n in row.data["whose"].items())
        values["whose"] = LIST[language].join(whose)
    hears = people.person(row.person)
    if row.what == "task" and hears and hears.role in CAN_BE_ASKED:  # who works here seldom is told how
        form, case = str(row.task).partition("-")[0], str(row.case_id)
        values |= {"case": case, "process": case.rpartition("-")[0], "code": form}
        return say("notice", "asked", language, **values)
    return say("notice", what, language, **values)


@dataclass(frozen=True)
class Line:
    """One notice that goes out: its row, and its case's business number."""

    row: NoticeRow
    number: str | None


@dataclass(frozen=True)
class Message:
    """What goes out over a channel: one notice, or several of one person."""

    key: str
    """The idempotency key: the same for every attempt."""
    subject: str
    text: str
    doubtful: bool
    values: Mapping[str, str]
    """The blanks of a template, where a channel takes no text."""


class Wording:
    """Makes messages. `link` is what the pages' addresses begin with, where there are pages; `answer_at` the page of a
    question, for who is asked."""

    def __init__(
        self, people: Who, zone: ZoneInfo, link: str | None, answer_at: Callable[[NoticeRow], str | None]
    ) -> None:
        self._people = people
        self._answer_at = answer_at
        self._zone = zone
        self._link = link

    def message(self, key: str, told: Sequence[Line], language: Language, doubtful: bool) -> Message:
        """One message of one notice or several."""
        several = len(told) > 1
        subject = say(
            "post", "subjects" if several else "subject", language, n=len(told), about=self._about(told[0], language)
        )
        lines = [say("post", "opening", language, n=len(told)), ""] if several else []
        for nth, one in enumerate(told, start=1):
            said = sentence(one.row, one.number, language, self._people, self._zone)
            lines.append(f"{nth}. {said}" if several else said)
            lines.append(say("post", "since", language, at=_minute(one.row.created_at, self._zone), id=one.row.id))
            lines += [self._place_of(one.row)] if self._link else []
            lines += [""] if several else []
        if doubtful:
            lines.append(say("post", "doubtful", language))
        lines.append(say("post", "closing", language))
        return Message(key, subject, "\n".join(lines), doubtful, self._values(told, language))

    def counts(self, key: str, told: Sequence[Line], language: Language, doubtful: bool) -> Message:
        """What a group hears: how many, and nothing of any case or person."""
        latest = told[-1].row.data
        text = say("post", "counts", language, due=latest.get("due", 0), overdue=latest.get("overdue", 0))
        if doubtful:
            text = f"{text}\n{say('post', 'doubtful', language)}"
        return Message(key, say("post", "group", language), text, doubtful, {})

    def _about(self, one: Line, language: Language) -> str:
        what = say("post", one.row.what, language)
        form = say("form", one.row.task.partition("-")[0], language) if one.row.task else ""
        return " ".join(part for part in (one.number, form, what) if part)

    def _place_of(self, row: NoticeRow) -> str:
        if answer := self._answer_at(row):
            return f"{self._link}{answer}"
        return f"{self._link}/cases/{row.case_id}" if row.case_id else f"{self._link}/"

    def _values(self, told: Sequence[Line], language: Language) -> dict[str, str]:
        first = min(told, key=lambda one: one.row.data.get("due_at") or "9")
        due = spoken({"due_at": first.row.data["due_at"]}, self._zone)["due_at"] if first.row.data.get("due_at") else ""
        return {
            "count": str(len(told)),
            "number": first.number or "",
            "what": say("post", first.row.what, language),
            "due": due,
        }


def _minute(instant: datetime, zone: ZoneInfo) -> str:
    return f"{instant.astimezone(zone):%Y-%m-%d %H:%M}"

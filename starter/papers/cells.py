"""What a form of paper is made of: cells with their names, rows, parts; and its words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar, get_args
from zoneinfo import ZoneInfo

from models.complaint.facts import Complaint
from models.forms import Form, Private
from models.organisation import Who
from models.words import Language, choice, label, say, task_name
from starter.shown import CaseView, TaskView

F = TypeVar("F", bound=Form)

Cell = tuple[str, Any, float]
"""A name, what stands beside it, and its share of the row. What stands there is a text, or boxes: ticked or not, and of what."""
Row = tuple[str, Any]
"""A kind of row, as the template knows it, and what it needs."""

LONG = 500
"""Characters from which a text has its name above it, so that it stands on every page again."""
KEPT = 700
"""Characters up to which a part is not divided between pages."""
KEPT_LINES = 12
STANDING = ("withdrawn", "done", "open")
"""Of several tasks of a form the last of these is meant where nothing was handed in."""
TENS = "一二三四五六七八九十"


@dataclass(frozen=True)
class Handed(Generic[F]):
    """A form as it was handed in: the task it closed, by whom, when."""

    task: str
    form: F
    by: str
    at: datetime


@dataclass
class Cells:
    """Rows of a case's paper as its template sets them, in a language. Instants come in the calendar's zone."""

    view: CaseView
    people: Who
    zone: ZoneInfo
    language: Language = "zh"

    @property
    def now(self) -> datetime:
        """When what is still open counts as late."""
        raise NotImplementedError

    def _part(self, word: str, rows: Sequence[Row], *, named: bool = False) -> dict[str, Any]:
        letters = sum(_letters(row) for _, row in rows)
        lines = sum(len(row["lines"]) for kind, row in rows if kind == "list")
        return {
            "name": word if named else self._say(word),
            "rows": [list(row) for row in rows],
            "keep": letters < KEPT and lines <= KEPT_LINES,
        }

    def _pairs(self, *cells: Cell) -> Row:
        return "pairs", [list(cell) for cell in cells]

    def _cell(self, name: str, said: Any, share: float = 1, owner: str = "complaint") -> Cell:
        return label(owner, name, self.language), said, share

    def _texts(self, owner: str, held: Private | None, *names: str, within: str = "", blank: bool = False) -> list[Row]:
        """A row for each text; for one that is not there, too, where the form leaves room for it."""
        texts = [(name, str(getattr(held, name, None) or "")) for name in names]
        return [
            self._passage(label(owner, within + name, self.language), said) for name, said in texts if said or blank
        ]

    def _passage(self, name: str, said: str, least: float = 0) -> Row:
        return "passage", {"name": name, "text": said, "long": len(said) > LONG, "least": least}

    def _list(self, heads: Iterable[str], shares: Iterable[float], lines: list[list[str]]) -> Row:
        return "list", {"head": [self._say(f"head_{word}") for word in heads], "shares": list(shares), "lines": lines}

    def _stamp(self, at: str, by: str, handed: Handed[Any] | None, form: str) -> Row:
        """When a form was handed in, by whom, and whether in time; of one that was not, by the task that waits for it."""
        if handed:
            owed = next((owed for owed in self.view.tasks if owed.task == handed.task), None)
        else:
            of_form = [owed for owed in self.view.tasks if owed.form == form]
            owed = max(of_form, key=lambda owed: (STANDING.index(owed.state), len(owed.task), owed.task), default=None)
        done_at = handed.at if handed else owed and owed.done_at  # an agreed time is an answer, too
        return self._pairs(
            (label("complaint", at, self.language), self._at(done_at) if done_at else "", 1.25),
            (self._say(by), self._name(handed.by if handed else owed.done_by if owed else None), 1),
            (self._say("in_time"), self._verdict_on(owed) if owed else "", 1),
        )

    # Words

    def _say(self, word: str, **values: str) -> str:
        return say("paper", word, self.language, **values)

    def _task(self, task: str) -> str:
        return task_name(task, self.language)

    def _name(self, person: str | None) -> str:
        return self.people.name(person) if person else ""

    def _at(self, instant: datetime) -> str:
        return f"{instant.astimezone(self.zone):%Y-%m-%d %H:%M}"

    def _span(self, length: timedelta) -> str:
        return span(length, self.language)

    def _yuan(self, amount: Any) -> str:
        return f"¥{amount:,.2f}"

    def _choice(self, name: str, code: str) -> str:
        return choice("complaint", name, code, self.language)

    def _boxes(self, name: str, code: str) -> list[tuple[bool, str]]:
        """Every value a field may have, the one it has ticked."""
        return [
            (known == code, self._choice(name, known)) for known in get_args(Complaint.model_fields[name].annotation)
        ]

    def _ordinal(self, nth: int) -> str:
        return TENS[nth - 1] if self.language == "zh" and nth <= len(TENS) else str(nth)

    def _yes(self, accepted: bool) -> str:
        return choice("complaint", "accepted", str(accepted).lower(), self.language)

    def _verdict_on(self, task: TaskView) -> str:
        if task.done_at:
            late = task.done_at - task.due_at
            return self._say("late", span=self._span(late)) if late > timedelta(0) else self._say("in_time_yes")
        if task.due_at < self.now:
            return self._say("overdue", span=self._span(self.now - task.due_at))
        return self._say("not_due")


def span(length: timedelta, language: Language = "zh") -> str:
    """A length of time in its two largest units, rounded down to minutes, and never nothing."""
    left, parts = max(length // timedelta(minutes=1), 1), []
    for unit, minutes in (("days", 24 * 60), ("hours", 60), ("minutes", 1)):
        n, left = divmod(left, minutes)
        if n:
            parts.append(say("screen", unit, language, n=n))
    return " ".join(parts[:2])


def _letters(row: Any) -> int:
    if isinstance(row, dict):
        return sum(_letters(part) for part in row.values())
    if isinstance(row, (list, tuple)):
        return sum(_letters(part) for part in row)
    return len(row) if isinstance(row, str) else 0

"""What the library shows: entries like a question, like a case, and the agenda of the Friday meeting."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from math import log
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, Field
from sqlalchemy import String, column, literal, values
from sqlalchemy import case as by_value
from sqlmodel import and_, col, func, or_, select

from activities.submissions import unsealed
from models.forms import Code
from models.library import Tag
from models.tables import CaseRow, LibraryChangeRow, LibraryRow, LibraryWordRow
from models.words import Language, say
from starter.facts import facts_now
from starter.library.entries import FRIDAY, MAY_READ, WEEK
from starter.library.words import (
    COMMON,
    HALF,
    LIKE,
    LONGEST_LIKE,
    SO_MANY,
    SO_MANY_PLACES,
    _codes_of,
    _runs,
    _tag_word,
    words_of,
)
from starter.pages import Page, Part, cursor_of, instant_of, read_cursor, whole_of
from starter.refusals import Forbidden, NotFound
from starter.views import Views


class EntryView(BaseModel):
    """An entry of the library. Of a removed one only who, when and why is left."""

    entry: int
    case: str
    number: str
    title: str
    problem: str
    solution: str
    tags: list[str]
    author: str
    version: int
    created_at: datetime
    changed_at: datetime
    for_meeting: bool
    marked_at: datetime | None
    discussed_at: datetime | None
    removed_at: datetime | None
    removed_because: str | None


class ChangeView(BaseModel):
    """A version of an entry: who made it, when, and what it said from then on."""

    version: int
    what: Literal["added", "changed", "discussed", "removed"]
    at: datetime
    by: str
    data: dict[str, Any]


class WholeEntry(EntryView):
    changes: list[ChangeView]


class Entries(Page[EntryView]):
    """Entries of the library. `hint` says what to do where there is none."""

    hint: str | None = None


class AgendaItem(EntryView):
    """An entry to be discussed. One that an earlier meeting did not come to is carried over."""

    carried_over: bool


class Agenda(Page[AgendaItem]):
    """What waits for the next Friday meeting (handbook 3.1), today's on a Friday: the longest waiting first."""

    meeting: date
    since: date
    """The Friday before."""
    hint: str | None = None


class LibraryQuery(Part):
    q: str | None = Field(default=None, min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]+$")
    tag: Tag | None = None
    for_meeting: bool | None = None
    author: Code | None = None
    case: Code | None = None
    sort: Literal["best", "latest"] = "best"
    """By how well it fits `q`, or by when it was added, the latest first. Without `q`, the latter."""


class Asked(NamedTuple):
    """Words somebody looks for with their rarity, and how much of it an entry must hold to be shown."""

    rarity: dict[str, int]
    least: int


class LibraryViews(Views):
    """What the library shows to the reader of these views. Forbidden for who may not read it."""

    def __init__(self, views: Views) -> None:
        vars(self).update(vars(views))
        if self._reader.role not in MAY_READ:
            raise Forbidden("may_not_read")

    def entries(
        self,
        *,
        q: str | None = None,
        tag: str | None = None,
        for_meeting: bool | None = None,
        author: str | None = None,
        case: str | None = None,
        sort: Literal["best", "latest"] = "best",
        limit: int = 50,
        cursor: str | None = None,
        language: Language = "zh",
    ) -> Entries:
        """Entries that fit, the best first, or the latest."""
        wanted = {LibraryRow.for_meeting: for_meeting, LibraryRow.author: author, LibraryRow.case_id: case}
        where: list[Any] = [column == value for column, value in wanted.items() if value is not None]
        if tag is not None:
            tagged = select(LibraryWordRow.entry).where(LibraryWordRow.word == _tag_word(tag))
            where.append(col(LibraryRow.id).in_(tagged))
        if q is None:
            page = self._latest(where, limit, cursor)
        else:
            page = self._ranked(self._asked_for(q), where, limit, cursor, by_score=sort == "best")
        return Entries(**dict(page), hint=None if page.items else self._hint(language))

    def similar(self, id: str, *, limit: int = 5, language: Language = "zh") -> Entries:
        """Entries like a case, by what it is about: its texts are opened in memory only. NotFound as for the case."""
        if self._session.get(CaseRow, id) is None:
            raise self.missing(id)
        facts = facts_now(self._session, id, lambda row: unsealed(row, self._keys))
        texts = [facts.get("content"), facts.get("demand"), (facts.get("goods") or {}).get("colour")]
        text = "\n".join(part for part in (*_codes_of(facts), *texts) if part)[:LONGEST_LIKE]
        words = {word for word in words_of(text) if len(word) > 1}
        page = self._ranked(self._like(words), [], limit + 1, None)
        others = [entry for entry in page.items if entry.case != id][:limit]
        return Entries(items=others, hint=None if others else say("hint", "no_similar", language))

    def agenda(self, *, limit: int = 50, cursor: str | None = None, language: Language = "zh") -> Agenda:
        """What waits for the next Friday meeting."""
        today = self._here(self._now).date()
        meeting = today + timedelta(days=(FRIDAY - today.weekday()) % 7)
        since = meeting - WEEK
        query = (
            self._standing().where(col(LibraryRow.for_meeting)).order_by(col(LibraryRow.marked_at), col(LibraryRow.id))
        )
        if cursor:
            marked_at, entry = read_cursor(cursor, 2)
            at = instant_of(marked_at)
            later = and_(col(LibraryRow.marked_at) == at, col(LibraryRow.id) > whole_of(entry))
            query = query.where(or_(col(LibraryRow.marked_at) > at, later))

        def shown(rows: list[Any]) -> list[AgendaItem]:
            return [
                AgendaItem(**dict(view), carried_over=view.marked_at is not None and view.marked_at.date() < since)
                for view in self._entries(rows)
            ]

        page = self._page(query, limit, shown, lambda row: (row[0].marked_at.isoformat(), str(row[0].id)))
        hint = None if page.items else say("hint", "agenda_empty", language)
        return Agenda(**dict(page), meeting=meeting, since=since, hint=hint)

    def entry(self, id: int) -> WholeEntry:
        """An entry with all its versions. NotFound when there is none."""
        query = select(LibraryRow, CaseRow.number).join(CaseRow, col(CaseRow.id) == col(LibraryRow.case_id))
        found = self._session.exec(query.where(LibraryRow.id == id)).first()
        if found is None:
            raise NotFound("no_such_entry", entry=str(id))
        changes = select(LibraryChangeRow).where(LibraryChangeRow.entry == id).order_by(col(LibraryChangeRow.version))
        return WholeEntry(
            **dict(self._entries([found])[0]),
            changes=[
                ChangeView(**row.model_dump(exclude={"entry", "at"}), at=self._here(row.at))
                for row in self._session.exec(changes)
            ],
        )

    # Parts

    def _standing(self) -> Any:
        """The entries that are not removed, with their cases' numbers."""
        query = select(LibraryRow, CaseRow.number).join(CaseRow, col(CaseRow.id) == col(LibraryRow.case_id))
        return query.where(col(LibraryRow.removed_at).is_(None))

    def _latest(self, where: list[Any], limit: int, cursor: str | None) -> Page[EntryView]:
        query = self._standing().where(*where).order_by(col(LibraryRow.id).desc())
        if cursor:
            query = query.where(col(LibraryRow.id) < whole_of(read_cursor(cursor, 1)[0]))
        return self._page(query, limit, self._entries, lambda row: (str(row[0].id),))

    def _ranked(
        self, asked: "Asked", where: list[Any], limit: int, cursor: str | None, by_score: bool = True
    ) -> Page[EntryView]:
        """The entries that hold enough of what is asked for, the best first, in one pass; or the latest of them."""
        word, entry = col(LibraryWordRow.word), col(LibraryWordRow.entry)
        rarity = by_value(asked.rarity, value=word, else_=0) if asked.rarity else 0 * col(LibraryWordRow.weight)
        hits = select(entry, func.sum(rarity * col(LibraryWordRow.weight)).label("score"))
        hits = hits.where(word.in_(asked.rarity)).group_by(entry).having(func.sum(rarity) >= asked.least)
        if not by_score:
            return self._latest([*where, col(LibraryRow.id).in_(hits.with_only_columns(entry))], limit, cursor)
        if where:
            hits = hits.where(entry.in_(select(LibraryRow.id).where(*where)))
        found = hits.subquery()
        query = select(found.c.entry, found.c.score, func.count().over())
        query = query.order_by(found.c.score.desc(), found.c.entry.desc()).limit(limit + 1)
        if cursor:
            score, last = map(whole_of, read_cursor(cursor, 2))
            query = query.where(or_(found.c.score < score, and_(found.c.score == score, found.c.entry < last)))
        best = self._session.exec(query).all()
        shown = {row[0].id: row for row in self._session.exec(self._standing().where(_is_one_of(best[:limit])))}
        items = self._entries([shown[hit[0]] for hit in best[:limit]])
        if len(best) <= limit:
            return Page(items=items)
        return Page(
            items=items, cursor=cursor_of(str(best[limit - 1][1]), str(best[limit - 1][0])), more=best[0][2] - limit
        )

    def _asked_for(self, q: str) -> "Asked":
        """The words somebody looks for. A single character stands for every word it begins, all as rare as they are together."""
        runs = set(_runs(q))
        alone = {run for run in runs if len(run) == 1 and not run.isascii()}
        words = {word for run in runs - alone for word in ([run] if run.isascii() else map("".join, pairwise(run)))}
        rarity = self._rarest(words, fewest=6)
        least = sum(rarity.values())
        for char in alone:
            following = self._beginning(char)
            together = self._rarity({char: sum(following.values())}) if following else {char: 0}
            rarity |= dict.fromkeys(following, together[char])
            least += together[char]
        return Asked(rarity, round(HALF * least))

    def _like(self, words: Iterable[str]) -> "Asked":
        """What makes an entry like a text of these words."""
        rarest = self._rarest(words, fewest=2)
        return Asked(rarest, round(LIKE * sum(rarest.values())))

    def _rarest(self, words: Iterable[str], fewest: int) -> dict[str, int]:
        """These words and their rarity, the rarest first, as far as looking at all they stand in does not take long."""
        chosen: dict[str, int] = {}
        counts = self._counts(words) if words else {}
        for word, count in sorted(counts.items(), key=lambda item: (item[1], item[0])):
            if len(chosen) >= fewest and (count == COMMON or sum(chosen.values()) + count > SO_MANY_PLACES):
                break
            chosen[word] = count
        return self._rarity(chosen)

    def _beginning(self, char: str) -> dict[str, int]:
        """The words that begin with a character, those that stand in most entries, and in how many."""
        word = col(LibraryWordRow.word)
        following = select(word, func.count()).where(word >= char, word < chr(ord(char) + 1)).group_by(word)
        return dict(self._session.exec(following.order_by(func.count().desc()).limit(SO_MANY)).all())

    def _counts(self, words: Iterable[str]) -> dict[str, int]:
        """In how many entries each of these words stands, COMMON at most; those that stand nowhere are left out."""
        asked = values(column("word", String), name="asked").data([(word,) for word in words]).cte()
        standing = select(literal(1)).where(col(LibraryWordRow.word) == asked.c.word).correlate(asked).limit(COMMON)
        counts = select(asked.c.word, select(func.count()).select_from(standing.subquery()).scalar_subquery())
        return {word: count for word, count in self._session.exec(counts) if count}

    def _rarity(self, counts: Mapping[str, int]) -> dict[str, int]:
        """How rare each word is among the entries, in whole numbers: what is added up comes out the same everywhere."""
        all_entries = select(func.count()).select_from(LibraryRow).where(col(LibraryRow.removed_at).is_(None))
        entries = self._session.exec(all_entries).one()
        return {word: max(round(100 * log(1 + entries / count)), 1) for word, count in counts.items()}

    def _hint(self, language: Language) -> str:
        any_entry = select(LibraryRow.id).where(col(LibraryRow.removed_at).is_(None)).limit(1)
        empty = self._session.exec(any_entry).first() is None
        return say("hint", "library_empty" if empty else "library_nothing", language)

    def _entries(self, rows: list[Any]) -> list[EntryView]:
        instants = ("created_at", "changed_at", "marked_at", "discussed_at", "removed_at")
        return [
            EntryView(
                entry=row.id,
                case=row.case_id,
                number=number,
                **row.model_dump(exclude={"id", "case_id", *instants}),
                **{name: self._here(getattr(row, name)) for name in instants},
            )
            for row, number, *_ in rows
        ]


def _is_one_of(hits: Sequence[Any]) -> Any:
    return col(LibraryRow.id).in_([hit[0] for hit in hits])

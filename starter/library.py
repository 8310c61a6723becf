"""The case library (handbook 3.4): what was learnt from cases, in the clear to be searched, and with nothing of a customer in it.

Annotations here are evaluated when a route is made: no `from __future__ import annotations`.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from math import log
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Path, Query, Response
from pydantic import AfterValidator, BaseModel, Field, StringConstraints
from pydantic_core import PydanticCustomError
from sqlalchemy import String, column, literal, values
from sqlalchemy import case as by_value
from sqlmodel import Session, and_, col, delete, func, insert, or_, select

from activities.keys import KeyRing
from models.forms import Code, FieldError, Private
from models.people import Person, Role
from models.tables import CaseRow, LibraryChangeRow, LibraryRow, LibraryWordRow, SubmissionRow, TaskRow
from models.tasks import OPENING
from models.words import Language, language_of, say
from starter.customers import Said, facts_of, folded, numbers_of
from starter.front import Front
from starter.refusals import Conflict, Forbidden, Invalid, NotFound
from starter.views import Page, Part, Views, cursor_of, instant_of, read_cursor, whole_of

MAY_READ = frozenset({Role.SPECIALIST, Role.MANAGER, Role.DIRECTOR})
MAY_WRITE = frozenset({Role.SPECIALIST, Role.MANAGER})
SETTLED = "record"
"""Once a case owes this form, what solved it is known."""
FRIDAY = 4
WEEK = timedelta(days=7)


# What an entry may say


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


class NewEntry(EntryText):
    """An entry for a case that has come to its closing form."""

    case: Code


class ChangedEntry(EntryText):
    """The whole entry as it shall be, and the version that was changed."""

    version: int = Field(ge=1, le=2**31 - 1)


class Removal(Private):
    """Why an entry goes."""

    reason: Short


# Nothing of a customer: what the door will not have in the clear

APART = r"(?:[^\w,;:、。!?\n]|_){0,5}"
"""What people put between the digits of one number; a comma or a word ends it."""
RUN = re.compile(rf"\d(?:{APART}\d)*x?")
DAY = re.compile(r"20\d\d[-/.](?:0?[1-9]|1[0-2])[-/.](?:0?[1-9]|[12]\d|3[01])(?!\d)\W*")
"""A date at the beginning of a run of digits. No mobile number begins like the years of this century."""
ID_CARD = re.compile(r"[1-9]\d{5}(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dx]")
MOBILE = re.compile(r"1[3-9]\d{9}")
LANDLINE = re.compile(r"(?:00?86|86)?0\d{9,11}")
ABROAD = re.compile(r"\d{7,15}")
OF_A_CARD = re.compile(r"(?:卡|card)[^\w\n]*(?:号码?|no|number|是|为)?[^\w\n]*[a-z]{0,4}[^\w\n]*$")
EMAIL = re.compile(r"[\w.%+-]\s*(?:@|[\[(]\s*at\s*[\])])\s*[a-z0-9]")
SHORTEST_CARD, SHORTEST_BANK_CARD, LONGEST_BANK_CARD = 5, 15, 19

OWN = {
    "name": ("customer.name", 2),
    "phone": ("customer.phone", 5),
    "fax": ("customer.fax", 5),
    "email": ("customer.email", 4),
    "im": ("customer.im", 4),
    "address": ("customer.address", 4),
    "card_no": ("customer.card_no", 4),
    "receipt_no": ("goods.receipt_no", 4),
}
"""What a case knows of its customer, and how many characters of it tell him from others."""


def objections(texts: Mapping[str, Any], *known: Mapping[str, Any]) -> list[FieldError]:
    """Every field that holds a number or an address of somebody, or anything that is known of the case's customer."""
    own = [found for facts in known for found in _own_patterns(facts)]
    found = []
    for field, text in _fields(texts):
        plain = folded(text).casefold()
        codes = [*_personal(plain), *(f"holds_own_{part}" for part, pattern in own if pattern.search(plain))]
        found += [FieldError(field=field, code=code) for code in dict.fromkeys(codes)]
    return found


def _fields(texts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for field, value in texts.items():
        if isinstance(value, str):
            yield field, value
        elif isinstance(value, list):
            yield from ((f"{field}.{n}", one) for n, one in enumerate(value))


def _personal(plain: str) -> Iterator[str]:
    if EMAIL.search(plain):
        yield "holds_email"
    for run in RUN.finditer(plain):
        if code := _number(run[0], plain[: run.start()]):
            yield code


def _number(run: str, before: str) -> str | None:
    """What a run of digits, however they are kept apart, looks like. A date at its beginning is a date."""
    while day := DAY.match(run):
        run, before = run[day.end() :], ""
    digits = re.sub(r"[^\dx]", "", run)
    if ID_CARD.search(digits):
        return "holds_id_card"
    digits = digits.rstrip("x")
    if MOBILE.search(digits) or LANDLINE.fullmatch(digits):
        return "holds_phone"
    if before.endswith("+") and ABROAD.fullmatch(digits):
        return "holds_phone"
    of_a_card = len(digits) >= SHORTEST_CARD and OF_A_CARD.search(before[-20:])
    if of_a_card or re.search(rf"\d{{{SHORTEST_BANK_CARD},}}", run) or _is_bank_card(digits):
        return "holds_card"
    return None


def _is_bank_card(digits: str) -> bool:
    """As long as such a number, and its last digit is the check of the others (Luhn)."""
    if not SHORTEST_BANK_CARD <= len(digits) <= LONGEST_BANK_CARD:
        return False
    doubled = [int(digit) * (1 + n % 2) for n, digit in enumerate(reversed(digits))]
    return sum(n - 9 if n > 9 else n for n in doubled) % 10 == 0


def _own_patterns(facts: Mapping[str, Any]) -> Iterator[tuple[str, re.Pattern[str]]]:
    """What finds the customer's own facts in a folded text, whatever stands between their characters."""
    for part, (place, shortest) in OWN.items():
        group, _, field = place.partition(".")
        known = (facts.get(group) or {}).get(field) or ""
        if pattern := _spelt_anyhow(known, shortest):
            yield part, pattern
    for kind, number in numbers_of(facts):
        if kind == "phone" and (pattern := _spelt_anyhow(number.removeprefix("+86"), 5)):
            yield kind, pattern


def _spelt_anyhow(known: str, shortest: int) -> re.Pattern[str] | None:
    chars = re.sub(r"[\W_]", "", folded(known).casefold())
    if len(chars) < shortest:
        return None
    before, after = ("(?<![a-z])" if chars[0] in LATIN else ""), ("(?![a-z])" if chars[-1] in LATIN else "")
    return re.compile(before + r"[\W_]*".join(map(re.escape, chars)) + after)


LATIN = frozenset("abcdefghijklmnopqrstuvwxyz")


# Words: how an entry is found

RUN_OF_LETTERS = re.compile(r"[a-z]+|[0-9]+|[^\W\d_a-z]+")
LONGEST_WORD = 40
SO_MANY = 400
"""Words that begin with one character and are looked for at a time."""
LONGEST_LIKE = 1500
"""Characters of a case that entries are compared with."""
COMMON = 2000
"""A word is counted no further."""
SO_MANY_PLACES = 10_000
"""Where words of a long text stand: the rarest tell most, and cost least."""
LONGEST_LIKE = 1500
"""Characters of a case that entries are compared with."""
RAREST = 16
"""Words of a long text that are compared with the entries': the rarest tell most, and cost least."""
COMMON = 2000
"""A word is counted no further: it tells nothing."""
HALF, LIKE = 0.5, 0.1
"""How much of what is asked for an entry must hold: of a question, of a whole case."""
TITLE, TEXT = 2, 1


def words_of(text: str) -> Iterator[str]:
    """The words under which a text is found: every two characters of Chinese in a row, the last one of a row by itself;
    Latin letters and digits by runs, so that KF-2210, kf2210 and ＫＦ 2210 are the same two words."""
    for run in _runs(text):
        yield from [run] if run.isascii() else (run[n : n + 2] for n in range(len(run)))


def _runs(text: str) -> Iterator[str]:
    for run in RUN_OF_LETTERS.findall(unicodedata.normalize("NFKC", text).casefold()):
        yield run[:LONGEST_WORD] if run.isascii() else run


def _tag_word(tag: str) -> str:
    return "#" + unicodedata.normalize("NFKC", tag).casefold()


def weights_of(entry: LibraryRow, codes: Iterable[str]) -> dict[str, int]:
    """Every word of an entry and what it weighs; the codes of its case's goods are words of it, too."""
    weights = dict.fromkeys(words_of("\n".join([entry.problem, entry.solution, *codes])), TEXT)
    weights |= dict.fromkeys(words_of("\n".join([entry.title, *entry.tags])), TITLE)
    return weights | {_tag_word(tag): TITLE for tag in entry.tags}


def shelve(session: Session, entry: LibraryRow) -> None:
    """Write the words under which an entry is found, in place of those it had."""
    session.exec(delete(LibraryWordRow).where(col(LibraryWordRow.entry) == entry.id))
    opening = select(SubmissionRow).where(SubmissionRow.case_id == entry.case_id, SubmissionRow.form == OPENING)
    outline = session.exec(opening).one().outline
    weights = weights_of(entry, _codes_of(outline))
    rows = [{"word": word, "entry": entry.id, "weight": weight} for word, weight in sorted(weights.items())]
    session.execute(insert(LibraryWordRow), rows)


def _codes_of(outline: Mapping[str, Any]) -> list[str]:
    goods = outline.get("goods") or {}
    return [code for code in (outline.get("category"), goods.get("style_no"), goods.get("batch")) if code]


# What is shown


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
        facts = {name: said for form in facts_of(self._session, self._keys, id) for name, said in form.items() if said}
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


# What is written


def add(session: Session, now: datetime, keys: KeyRing, by: Person, new: NewEntry) -> int:
    """Add an entry. Forbidden, NotFound, Conflict (too early, or there already), Invalid (something of a customer in it)."""
    _check_role(by)
    case = session.get(CaseRow, new.case)
    if case is None:
        raise NotFound("no_such_case", case=new.case)
    if case.state == "open" and not _is_settled(session, case):
        raise Conflict("not_at_record", case=case.id)
    standing = select(LibraryRow.id).where(LibraryRow.case_id == case.id, col(LibraryRow.removed_at).is_(None))
    if known := session.exec(standing).first():
        raise Conflict("in_library_already", case=case.id, entry=str(known))
    _check_texts(session, keys, case.id, new.texts)
    entry = LibraryRow(
        case_id=case.id,
        author=by.id,
        created_at=now,
        changed_at=now,
        for_meeting=new.for_meeting,
        marked_at=now if new.for_meeting else None,
        **new.texts,
    )
    session.add(entry)
    session.flush()
    shelve(session, entry)
    return _changed(session, entry, now, by, "added")


def change(session: Session, now: datetime, keys: KeyRing, by: Person, id: int, changed: ChangedEntry) -> int:
    """Change an entry: its author, or the manager. Conflict when somebody else has meanwhile."""
    entry = _theirs(session, by, id)
    if changed.version != entry.version:
        raise Conflict("entry_changed", entry=str(id), version=str(entry.version))
    _check_texts(session, keys, entry.case_id, changed.texts)
    if changed.for_meeting and not entry.for_meeting:
        entry.marked_at, entry.discussed_at = now, None
    entry.for_meeting = changed.for_meeting
    for name, text in changed.texts.items():
        setattr(entry, name, text)
    entry.version += 1
    shelve(session, entry)
    return _changed(session, entry, now, by, "changed")


def mark_off(session: Session, now: datetime, by: Person, id: int) -> int:
    """The meeting has discussed it."""
    entry = _standing(session, by, id)
    if not entry.for_meeting:
        raise Conflict("not_on_agenda", entry=str(id))
    entry.for_meeting, entry.discussed_at = False, now
    entry.version += 1
    return _changed(session, entry, now, by, "discussed")


def remove(session: Session, now: datetime, keys: KeyRing, by: Person, id: int, reason: str) -> int:
    """Take an entry out: its author, or the manager. Its texts go, of every version; who, when and why stays."""
    entry = _theirs(session, by, id)
    _check_texts(session, keys, entry.case_id, {"reason": reason})
    session.exec(delete(LibraryWordRow).where(col(LibraryWordRow.entry) == id))
    entry.title = entry.problem = entry.solution = ""
    entry.tags, entry.for_meeting = [], False
    entry.removed_at, entry.removed_because = now, reason
    entry.version += 1
    for version in session.exec(select(LibraryChangeRow).where(LibraryChangeRow.entry == id)):
        version.data = {}
    return _changed(session, entry, now, by, "removed")


def _changed(session: Session, entry: LibraryRow, now: datetime, by: Person, what: str) -> int:
    """Write down a version of an entry."""
    assert entry.id is not None
    entry.changed_at = now
    texts = entry.model_dump(include={"title", "problem", "solution", "tags", "for_meeting"})
    data = {} if entry.removed_at else texts
    session.add(LibraryChangeRow(entry=entry.id, version=entry.version, at=now, by=by.id, what=what, data=data))
    return entry.id


def _is_settled(session: Session, case: CaseRow) -> bool:
    owed = select(TaskRow.key).where(TaskRow.case_id == case.id, TaskRow.form == SETTLED, TaskRow.state != "withdrawn")
    return session.exec(owed).first() is not None


def _check_role(by: Person) -> None:
    if by.role not in MAY_WRITE:
        raise Forbidden("may_not_shelve", role=by.role)


def _check_texts(session: Session, keys: KeyRing, case: str, texts: Mapping[str, Any]) -> None:
    if errors := objections(texts, *facts_of(session, keys, case)):
        raise Invalid(errors)


def _standing(session: Session, by: Person, id: int) -> LibraryRow:
    """An entry to be changed, to ourselves until the transaction ends."""
    _check_role(by)
    entry = session.exec(select(LibraryRow).where(LibraryRow.id == id).with_for_update()).first()
    if entry is None:
        raise NotFound("no_such_entry", entry=str(id))
    if entry.removed_at:
        raise Conflict("entry_removed", entry=str(id))
    return entry


def _theirs(session: Session, by: Person, id: int) -> LibraryRow:
    entry = _standing(session, by, id)
    if by.role is not Role.MANAGER and by.id != entry.author:
        raise Forbidden("not_your_entry", entry=str(id), author=entry.author)
    return entry


# Doors

EntryId = Annotated[int, Path(ge=1, le=2**31 - 1, description="案例编号 · the entry's number")]


def add_routes(router: APIRouter, front: Front, who: Any) -> None:
    """The doors of this module."""
    keys = front.house.keys

    async def written(by: Person, act: Callable[[Session, datetime], int]) -> WholeEntry:
        entry = await front.write(act)
        return await front.look(by, lambda views: LibraryViews(views).entry(entry))

    @router.post("/library", tags=["library"], status_code=201, summary="收入案例 · add an entry to the case library")
    async def add_entry(new: NewEntry, by: who, response: Response) -> WholeEntry:
        entry = await written(by, lambda session, now: add(session, now, keys, by, new))
        response.headers["Location"] = f"/api/library/{entry.entry}"
        return entry

    @router.get("/library", tags=["library"], summary="查找案例 · entries of the case library, the best first")
    async def list_entries(by: who, wanted: Annotated[LibraryQuery, Query()], language: Said = None) -> Entries:
        spoken = language_of(language)
        return await front.look(by, lambda views: LibraryViews(views).entries(**dict(wanted), language=spoken))

    @router.get("/library/agenda", tags=["library"], summary="周五例会议题 · what waits for the Friday meeting")
    async def show_agenda(by: who, part: Annotated[Part, Query()], language: Said = None) -> Agenda:
        spoken = language_of(language)
        return await front.look(by, lambda views: LibraryViews(views).agenda(**dict(part), language=spoken))

    @router.get("/library/{entry}", tags=["library"], summary="案例 · an entry and all its versions")
    async def show_entry(entry: EntryId, by: who) -> WholeEntry:
        return await front.look(by, lambda views: LibraryViews(views).entry(entry))

    @router.put("/library/{entry}", tags=["library"], summary="修改案例 · change an entry")
    async def change_entry(entry: EntryId, changed: ChangedEntry, by: who) -> WholeEntry:
        return await written(by, lambda session, now: change(session, now, keys, by, entry, changed))

    @router.post("/library/{entry}/discussed", tags=["library"], summary="例会已讨论 · the meeting has discussed it")
    async def discussed(entry: EntryId, by: who) -> WholeEntry:
        return await written(by, lambda session, now: mark_off(session, now, by, entry))

    @router.post("/library/{entry}/remove", tags=["library"], summary="移除案例 · remove an entry, with the reason")
    async def remove_entry(entry: EntryId, why: Removal, by: who) -> WholeEntry:
        return await written(by, lambda session, now: remove(session, now, keys, by, entry, why.reason))

    @router.get("/cases/{case}/similar", tags=["library"], summary="相似案例 · entries like this case")
    async def list_similar(
        case: Annotated[Code, Path(description="工单编号 · the case's id")],
        by: who,
        limit: Annotated[int, Query(ge=1, le=20)] = 5,
        language: Said = None,
    ) -> Entries:
        spoken = language_of(language)
        return await front.look(by, lambda views: LibraryViews(views).similar(case, limit=limit, language=spoken))

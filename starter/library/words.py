"""Words: how an entry of the library is found."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlmodel import Session, col, delete, insert, select

from models.tables import LibraryRow, LibraryWordRow
from starter.facts import facts_now

RUN_OF_LETTERS = re.compile(r"[a-z]+|[0-9]+|[^\W\d_a-z]+")
LONGEST_WORD = 40
SO_MANY = 400
"""Words that begin with one character and are looked for at a time."""
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
    weights = weights_of(entry, _codes_of(facts_now(session, entry.case_id, lambda row: row.outline)))
    rows = [{"word": word, "entry": entry.id, "weight": weight} for word, weight in sorted(weights.items())]
    session.execute(insert(LibraryWordRow), rows)


def shelve_anew(session: Session, case: str) -> None:
    """The same, where a case was corrected: it is found by the codes that the case has by now."""
    standing = select(LibraryRow).where(LibraryRow.case_id == case, col(LibraryRow.removed_at).is_(None))
    for entry in session.exec(standing.with_for_update()).all():
        shelve(session, entry)


def _codes_of(facts: Mapping[str, Any]) -> list[str]:
    goods = facts.get("goods") or {}
    return [code for code in (facts.get("category"), goods.get("style_no"), goods.get("batch")) if code]

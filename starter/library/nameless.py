"""Nothing of a customer: what the library will not have in the clear, and who is asked does not see."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from models.forms import FieldError
from starter.numbers import folded, numbers_of

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
EMAIL = re.compile(r"(?:[a-z0-9._%+-]{1,64}|\w)\s*(?:@|[\[(]\s*at\s*[\])])\s*[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
STARS = "****"
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
        codes = [
            *(code for code, _ in _personal(plain)),
            *(f"holds_own_{part}" for part, pattern in own if pattern.search(plain)),
        ]
        found += [FieldError(field=field, code=code) for code in dict.fromkeys(codes)]
    return found


def without(text: str, *known: Mapping[str, Any]) -> str:
    """A text with stars for all that `objections` finds in it."""
    signs = _signs(unicodedata.normalize("NFC", text))
    read = [(char, nth) for nth, sign in enumerate(signs) for char in folded(sign).casefold()]
    plain = "".join(char for char, _ in read)
    own = (match.span() for facts in known for _, pattern in _own_patterns(facts) for match in pattern.finditer(plain))
    found = [*own, *(span for _, span in _personal(plain))]
    hidden = {nth for begin, end in found for nth in range(read[begin][1], read[end - 1][1] + 1)}
    parts = groupby(enumerate(signs), key=lambda numbered: numbered[0] in hidden)
    return "".join(STARS if is_hidden else "".join(sign for _, sign in part) for is_hidden, part in parts)


def _signs(text: str) -> list[str]:
    """The characters of a text, each with the marks that belong to it: what is folded alone comes out as in the whole."""
    signs: list[str] = []
    for char in text:
        if signs and unicodedata.combining(unicodedata.normalize("NFKD", char)[0]):
            signs[-1] += char
        else:
            signs.append(char)
    return signs


def _fields(texts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for field, value in texts.items():
        if isinstance(value, str):
            yield field, value
        elif isinstance(value, list):
            yield from ((f"{field}.{n}", one) for n, one in enumerate(value))


def _personal(plain: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """What is somebody's, and where it begins and ends."""
    for address in EMAIL.finditer(plain):
        yield "holds_email", address.span()
    for run in RUN.finditer(plain):
        begin = _after_days(run[0])
        before = "" if begin else plain[: run.start()]
        if code := _number(run[0][begin:], before):
            yield code, (run.start() + begin, run.end())


def _after_days(run: str) -> int:
    """Where a run of digits goes on after the dates at its beginning."""
    begin = 0
    while day := DAY.match(run, begin):
        begin = day.end()
    return begin


def _number(run: str, before: str) -> str | None:
    """What a run of digits, however they are kept apart, looks like."""
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

"""What tells a customer from others: his numbers, each however it is typed; and all that a case knows of him."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumber, PhoneNumberFormat, PhoneNumberMatcher, ValidationResult
from sqlmodel import Session, col, select

from activities.keys import KeyRing
from activities.submissions import unsealed
from models.forms import FieldError
from models.tables import SubmissionRow
from models.tasks import OPENING
from starter.refusals import Invalid

Kind = Literal["phone", "card", "receipt", "email"]

PLACES: dict[Kind, str] = {
    "phone": "customer.phone",
    "card": "customer.card_no",
    "receipt": "goods.receipt_no",
    "email": "customer.email",
}
"""Where the facts of a case hold what its customer is found by."""
GROUPS = frozenset(place.partition(".")[0] for place in PLACES.values())
REGION, CHINA = "CN", 86
"""Whose numbers are meant where no country is named."""
DIGITS = str.maketrans("〇零○一幺壹二贰貳三叁參四肆五伍六陆陸七柒八捌九玖", "0001112223334455666778899")
MOBILE = re.compile(r"1[3-9]")
MOBILE_DIGITS = 11
EXTENSION = re.compile(r"(转|轉|分机|分機)")
SHORTEST_CODE = 4


# One number, however it is typed


def normal(kind: Kind, text: str) -> str:
    """A number as every spelling of it comes out. Invalid says what is wrong with it, and repeats nothing of it."""
    try:
        return {"phone": _phone, "card": _code, "receipt": _code, "email": _email}[kind](folded(text))
    except ValueError as error:
        raise Invalid([FieldError(field=kind, code=str(error), values={"shortest": str(SHORTEST_CODE)})]) from None


def folded(text: str) -> str:
    """Full-width letters as narrow ones, every script's digits as ours (一三八 is 138), and nothing that is not seen."""
    narrow = unicodedata.normalize("NFKC", text)
    seen = (char for char in narrow if unicodedata.category(char) != "Cf")
    return "".join(str(unicodedata.decimal(char, char)) for char in seen).translate(DIGITS)


def _phone(text: str) -> str:
    try:
        number = phonenumbers.parse(EXTENSION.sub(" ext. ", text), REGION)
    except NumberParseException as error:
        code = error.error_type
        unknown = code == NumberParseException.INVALID_COUNTRY_CODE
        short = code in (NumberParseException.TOO_SHORT_NSN, NumberParseException.TOO_SHORT_AFTER_IDD)
        long = code == NumberParseException.TOO_LONG
        raise ValueError(
            "phone_country" if unknown else "phone_short" if short else "phone_long" if long else "phone_none"
        ) from None
    match phonenumbers.is_possible_number_with_reason(number):
        case ValidationResult.TOO_SHORT:
            raise ValueError("phone_short")
        case ValidationResult.TOO_LONG | ValidationResult.INVALID_LENGTH:
            raise ValueError("phone_long")
        case ValidationResult.INVALID_COUNTRY_CODE:
            raise ValueError("phone_country")
    digits = str(number.national_number)
    if number.country_code == CHINA and MOBILE.match(digits) and len(digits) != MOBILE_DIGITS:
        raise ValueError("phone_short" if len(digits) < MOBILE_DIGITS else "phone_long")
    return _international(number)


def _international(number: PhoneNumber) -> str:
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)


def _code(text: str) -> str:
    code = re.sub(r"[\W_]", "", text).upper()
    if len(code) < SHORTEST_CODE:
        raise ValueError("code_short")
    return code


def _email(text: str) -> str:
    address = re.sub(r"\s", "", text).casefold()
    if not re.fullmatch(r"[^@]+@[^@]+\.[^@.]+", address):
        raise ValueError("email_none")
    return address


def numbers_of(facts: Mapping[str, Any]) -> set[tuple[Kind, str]]:
    """What a customer can be found by, from the facts of a case; of a text that holds several phone numbers, each."""
    return {(kind, number) for kind, place in PLACES.items() for number in _numbers(kind, _at(facts, place))}


def _numbers(kind: Kind, text: str) -> Iterator[str]:
    if not text:
        return
    try:
        yield normal(kind, text)
    except Invalid:
        if kind == "phone":
            for found in PhoneNumberMatcher(folded(text), REGION, leniency=phonenumbers.Leniency.POSSIBLE):
                yield _international(found.number)


def _at(facts: Mapping[str, Any], place: str) -> str:
    found: Any = facts
    for step in place.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) else ""


def facts_of(session: Session, keys: KeyRing, case: str) -> list[dict[str, Any]]:
    """The facts a case was opened with, in full, then every form that corrects its customer or goods, the latest last.

    UnknownKey or InvalidTag where they cannot be read.
    """
    sent = select(SubmissionRow).where(SubmissionRow.case_id == case).order_by(col(SubmissionRow.recorded_at))
    rows = [row for row in session.exec(sent) if row.form == OPENING or row.outline.keys() & GROUPS]
    return [unsealed(row, keys) for row in sorted(rows, key=lambda row: row.form != OPENING)]

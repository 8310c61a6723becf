"""A customer's name and contacts as they may be shown to those who need not know them."""

import re

from models.complaint.facts import Customer
from models.forms import HIDDEN

STARS = "****"
SHORTEST_PHONE = 11
"""Digits of a number of which three and four may be shown; a mobile number has as many."""


def masked(customer: Customer) -> Customer:
    """The same person, not to be recognised: 张*, 138****0001."""
    hide = {
        "name": name,
        "phone": phone,
        "email": email,
        "im": ends,
        "fax": phone,
        "address": address,
        "company": address,
        "card_no": ends,
    }
    return customer.model_copy(
        update={
            field: hidden(said)
            for field, hidden in hide.items()
            if (said := getattr(customer, field)) not in (None, HIDDEN)
        }
    )


def name(said: str) -> str:
    return f"{said[:1]}*"


def phone(said: str) -> str:
    """Three digits and the last four; of a number too short for that the last two."""
    digits = re.sub(r"\D", "", said)
    digits = digits.removeprefix("86") if len(digits) == SHORTEST_PHONE + 2 else digits
    if len(digits) >= SHORTEST_PHONE:
        return f"{digits[:3]}{STARS}{digits[-4:]}"
    return f"{STARS}{digits[-2:]}" if len(digits) > 4 else STARS


def email(said: str) -> str:
    person, at, host = said.rpartition("@")
    return f"{person[:1]}{STARS}@{host}" if at else STARS


def ends(said: str) -> str:
    return f"{STARS}{said[-2:]}" if len(said) > 6 else STARS


def address(said: str) -> str:
    """The city, and no more; of a company as much."""
    return f"{said[:3]}{STARS}"

"""The specialities people may have: the five posts, and the processes there are (handbook 1.2)."""

from typing import NamedTuple

from models.organisation import Directory
from models.people import POSTS
from models.words import LANGUAGES, say
from workflows import PROCESSES

KNOWN = (*POSTS, *PROCESSES)


class Unknown(NamedTuple):
    """A speciality that is none: nothing would ever be his by it."""

    place: tuple[str | int, ...]
    person: str
    said: str
    """What is wrong, in both languages."""


def unknown(directory: Directory) -> list[Unknown]:
    """Specialities that are neither a post nor a process."""
    return [
        Unknown(("people", nth, "specialities"), person.id, _said(person.id, one))
        for nth, person in enumerate(directory.people)
        for one in person.specialities
        if one not in KNOWN
    ]


def check(directory: Directory) -> None:
    """ValueError where somebody's speciality is none."""
    if found := unknown(directory):
        raise ValueError("; ".join(one.said for one in found))


def _said(person: str, one: str) -> str:
    known = ", ".join(KNOWN)
    return " · ".join(
        say("field", "no_speciality", language, id=person, speciality=one, known=known) for language in LANGUAGES
    )

"""The catalogue: every sentence a person reads, in Chinese and in English, found by its code."""

import tomllib
from pathlib import Path
from typing import Any, Literal

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = ("zh", "en")

_CATALOGUE: dict[str, dict[str, list[str]]] = tomllib.loads(
    Path(__file__).with_name("words.toml").read_text(encoding="utf-8")
)


def say(section: str, code: str, language: Language = "zh", /, **values: Any) -> str:
    """The sentence for a code; forms and roles among the values are themselves said in the language."""
    pair = _CATALOGUE[section].get(code)
    if pair is None:
        return code if section != "field" else say("field", "other", language)
    named = {name: _named(name, str(value), language) for name, value in values.items()}
    return pair[0 if language == "zh" else 1].format_map(_Known(named))


def _named(name: str, value: str, language: Language) -> str:
    if name == "role":
        return say("role", value, language)
    if name in ("form", "task", "before"):
        form, _, nth = value.partition("-")
        return say("form", form, language) + (f"（{nth}）" if nth else "")
    return value


class _Known(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "…"


def language_of(accept: str | None) -> Language:
    """The reader's language from an Accept-Language header: English when it is asked for first, Chinese otherwise."""
    first = (accept or "").split(",")[0].strip().lower()
    return "en" if first.startswith("en") else "zh"

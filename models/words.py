"""The catalogue: every sentence a person reads, in Chinese and in English, found by its code."""

import tomllib
from pathlib import Path
from typing import Any, Literal

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = ("zh", "en")

_CATALOGUE: dict[str, dict[str, list[str]]] = tomllib.loads(
    Path(__file__).with_name("words.toml").read_text(encoding="utf-8")
)


_OPTIONS = {
    "role": "role",
    "form": "form",
    "process": "screen",
    "state": "screen",
    **dict.fromkeys(("fields", "declined", "confirmed"), "label"),
}
"""Where the words are for the codes of a field, unless they are choices."""
_AS = {"demand_remedy": "remedy"}
"""Fields whose values are those of another, and called as they are."""
_SEVERAL = {"forms": "form", "processes": "process", "departments": "department", "needed": "role", "fields": "fields"}
"""Values of sentences that hold codes which are to be typed, and what field they are of."""
LIST: dict[Language, str] = {"zh": "、", "en": ", "}
"""What stands between several."""
SEPARATOR: dict[Language, str] = {"zh": "；", "en": "; "}
"""And where they are longer."""


def say(section: str, code: str, language: Language = "zh", /, **values: Any) -> str:
    """The sentence for a code; forms and roles among the values are themselves said in the language."""
    pair = _CATALOGUE[section].get(code)
    if pair is None:
        return code if section != "field" else say("field", "other", language)
    named = {name: _named(name, str(value), language) for name, value in values.items()}
    return pair[0 if language == "zh" else 1].format_map(_Known(named))


def knows(section: str, code: str) -> bool:
    return code in _CATALOGUE[section]


def label(owner: str, field: str, language: Language = "zh") -> str:
    """What a field is called on screens, printed forms and in files. `owner` is the process or the form it belongs to."""
    words = names_of(owner, field)
    return words[0 if language == "zh" else 1] if words else field


def names_of(owner: str, field: str) -> list[str]:
    """Every word a column for a field may bear, besides the field's own name."""
    return _found("label", f"{owner}.{field}", field)


def choice(owner: str, field: str, code: str, language: Language = "zh") -> str:
    """What a value of a coded field is called; of a yes or no, `code` is true or false."""
    words = values_of(owner, field, code)
    return words[0 if language == "zh" else 1] if words else code


def values_of(owner: str, field: str, code: str) -> list[str]:
    """Every word that may stand for a value in a file, besides the code itself."""
    return _found("choice", *_keys(owner, field, code), code)


def option(owner: str, field: str, code: str, language: Language = "zh") -> str:
    """A code that is to be typed, with what it is called where that is another word."""
    section = _OPTIONS.get(field, "choice")
    codes = _keys(owner, field, code) if section == "choice" else (code,)
    words = _found(section, *codes)
    called = words[0 if language == "zh" else 1] if words else code
    return code if called.replace(" ", "_") == code else aside(code, called, language)


def aside(said: str, more: str, language: Language = "zh") -> str:
    """One thing, and another in brackets."""
    return f"{said}（{more}）" if language == "zh" else f"{said} ({more})"


def task_name(task: str, language: Language = "zh") -> str:
    """What a task is called: its form, and which of several."""
    form, _, nth = task.partition("-")
    called = say("form", form, language)
    return aside(called, nth, language) if nth else called


def example(owner: str, field: str, language: Language = "zh") -> str:
    """What a field may hold, made up; empty where its kind says enough."""
    words = _found("example", f"{owner}.{field}", field)
    return words[0 if language == "zh" else 1] if words else ""


def _keys(owner: str, field: str, code: str) -> tuple[str, str]:
    return f"{owner}.{field}.{code}", f"{_AS.get(field, field)}.{code}"


def _found(section: str, *codes: str) -> list[str]:
    return next((words for code in codes if (words := _CATALOGUE[section].get(code))), [])


def _named(name: str, value: str, language: Language) -> str:
    if name == "role":
        return say("role", value, language)
    if name == "remedy":
        return choice("", name, value, language)
    if name in ("form", "task", "before"):
        return task_name(value, language)
    if name == "tasks":
        return LIST[language].join(aside(task, task_name(task, language), language) for task in value.split(", "))
    if name in _SEVERAL:
        return LIST[language].join(option("", _SEVERAL[name], code, language) for code in value.split(", "))
    return value


class _Known(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "…"


def language_of(accept: str | None) -> Language:
    """The reader's language from an Accept-Language header: English when it is asked for first, Chinese otherwise."""
    first = (accept or "").split(",")[0].strip().lower()
    return "en" if first.startswith("en") else "zh"

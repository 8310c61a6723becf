"""The columns of a table of cases: which field each fills, by its name or by what people call it, and what its cells mean."""

import re
import types
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from difflib import get_close_matches
from functools import cache
from itertools import chain
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, BaseModel, FutureDate, FutureDatetime, PastDate, PastDatetime
from pydantic.fields import FieldInfo

from models.tasks import Process
from models.words import Language, choice, label, names_of, values_of
from starter.spreadsheets.workbooks import NOT_COMPUTED

INSTANTS = frozenset({datetime, AwareDatetime, PastDatetime, FutureDatetime})
DAYS = frozenset({date, PastDate, FutureDate})


class Leaf(NamedTuple):
    """A field that one column can fill: of the case, dotted where nested, or of its past."""

    process: str
    name: str
    types: frozenset[Any]
    required: bool
    choices: tuple[str, ...]
    """The codes of a coded field; true and false of a yes or no."""
    is_code: bool
    """A code or a number, which takes no spaces; any other string is free text."""
    is_past: bool

    def label(self, language: Language = "zh") -> str:
        return label(self.process, self.name, language)

    def choice(self, code: str, language: Language = "zh") -> str:
        return choice(self.process, self.name, code, language)

    def code_of(self, text: str) -> str | None:
        """The code that a word stands for, in either language."""
        return _codes(self).get(plain(text))


@cache
def _codes(leaf: Leaf) -> dict[str, str]:
    return {plain(word): code for code in leaf.choices for word in (code, *values_of(leaf.process, leaf.name, code))}


def leaves_of(process: Process) -> list[Leaf]:
    past = list(_leaves(process.name, process.past, is_past=True)) if process.past else []
    return [*_leaves(process.name, process.case), *past]


def leaves_in(owner: str, model: type[BaseModel]) -> list[Leaf]:
    """The fields of any model that columns can fill; `owner` is whose words they bear."""
    return list(_leaves(owner, model))


def _leaves(
    process: str, model: type[BaseModel], at: str = "", needed: bool = True, is_past: bool = False
) -> Iterator[Leaf]:
    for name, info in model.model_fields.items():
        kinds = frozenset(_types(info.annotation))
        required = needed and info.is_required()
        if inner := _model_among(kinds):
            yield from _leaves(process, inner, f"{at}{name}.", required, is_past)
        else:
            choices = tuple(_choices(info.annotation))
            yield Leaf(process, f"{at}{name}", kinds, required, choices, _is_code(info), is_past)


def required_objects(model: type[BaseModel], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Nested objects that cannot be left out where what holds them is there, the outer ones first."""
    for name, info in model.model_fields.items():
        if inner := _model_among(frozenset(_types(info.annotation))):
            if info.is_required():
                yield (*at, name)
            yield from required_objects(inner, (*at, name))


def _types(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _types(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for kind in get_args(annotation):
            yield from _types(kind)
    else:
        yield annotation


def _choices(annotation: Any) -> Iterator[str]:
    for kind in _types(annotation):
        if get_origin(kind) is Literal:
            yield from map(str, get_args(kind))
        elif kind is bool:
            yield from ("true", "false")


def _is_code(info: FieldInfo) -> bool:
    inner = (getattr(kind, "__metadata__", ()) for kind in get_args(info.annotation))
    return any(getattr(one, "pattern", None) for one in chain(info.metadata, *inner))


def _model_among(kinds: frozenset[Any]) -> type[BaseModel] | None:
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


# Names


@dataclass(frozen=True)
class Names:
    """What a column may be called, and which field it then fills."""

    leaves: dict[str, Leaf]
    _known: dict[str, Leaf] = field(repr=False)

    @classmethod
    def of(cls, process: Process) -> "Names":
        return cls.among(process.name, leaves_of(process))

    @classmethod
    def among(cls, owner: str, leaves: list[Leaf]) -> "Names":
        known = {plain(word): leaf for leaf in leaves for word in (*names_of(owner, leaf.name), leaf.name)}
        return cls({leaf.name: leaf for leaf in leaves}, known)

    def find(self, header: str) -> Leaf | None:
        """The field of a header: 联系电话, 联系电话：, ＊联系电话（必填）, customer.phone and phone are one."""
        name = plain(header)
        return self._known.get(name) or self._known.get(plain(re.sub(r"\([^()]*\)$", "", name)))

    def nearest(self, header: str, language: Language = "zh") -> str | None:
        """The label of the field whose name is most like a header's."""
        close = get_close_matches(plain(header), self._known, n=1, cutoff=0.7)
        return self._known[close[0]].label(language) if close else None


def plain(word: str) -> str:
    """A word without what people and programs put around it: case, width, spaces, a mark for required, a colon."""
    return re.sub(r"\s", "", unicodedata.normalize("NFKC", word)).casefold().strip("*:")


# Values


class Unreadable(Exception):
    """A cell whose content is lost, or was never there: a code of the catalogue and the values of its sentence."""

    def __init__(self, code: str, **values: str) -> None:
        super().__init__(code)
        self.code = code
        self.values = values


class Value(NamedTuple):
    """A cell as its field takes it, and what was assumed of it: `zone_assumed` or `day_assumed`."""

    text: str
    assumed: str | None = None


_ERRORS = frozenset({"#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#SPILL!", "#CALC!"})
_MANGLED = re.compile(r"[+-]?\d(\.\d+)?[eE]\+\d+|\d{7,}\.0+")
_NUMBER = re.compile(r"[+-]?[\d.]+")
_WRITTEN = re.compile(
    r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ] *(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d{1,6})?))? *(Z|[+-]\d{2}:?\d{2})?)?"
)
_CHINESE = str.maketrans({"年": "-", "月": "-", "日": " ", "时": ":", "点": ":", "分": ":", "秒": "", "：": ":"})
_WITHOUT_OFFSET = re.compile(r"\d{4}-\d{2}-\d{2}T[\d:.]+")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_AMOUNT = re.compile(r"[¥￥]? ?(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?) ?元?")
_SPAN = re.compile(r"(\d+) ?(天|日|小时|个小时|周|星期|days?|hours?|h|d)", re.IGNORECASE)
_UNITS = {
    "天": "P{}D",
    "日": "P{}D",
    "d": "P{}D",
    "小": "PT{}H",
    "个": "PT{}H",
    "h": "PT{}H",
    "周": "P{}W",
    "星": "P{}W",
}


def value_of(leaf: Leaf, text: str, zone: ZoneInfo, whole_days: bool = False) -> Value:
    """What a cell says. What people write differently is brought into one form; what is no such value is left for the model to refuse.

    `whole_days`: a day without a time stands for its midnight. Raises Unreadable where the cell shows that its content is lost.
    """
    if text == NOT_COMPUTED:
        raise Unreadable("formula_not_computed")
    if text.upper() in _ERRORS:
        raise Unreadable("cell_error", shown=text.upper())
    if str in leaf.types and _MANGLED.fullmatch(text):
        raise Unreadable("number_mangled")
    if leaf.choices:
        return Value(leaf.code_of(text) or text)
    if leaf.types & INSTANTS:
        return _instant(_iso(text), zone, whole_days)
    if leaf.types & DAYS:
        return Value(re.sub(r"T[\d:.]+$", "", _iso(text)))  # the hour of a purchase is not asked for
    if Decimal in leaf.types and (amount := _AMOUNT.fullmatch(text)):
        return Value(amount[1].replace(",", ""))
    if timedelta in leaf.types and (span := _SPAN.fullmatch(text)):
        return Value(_UNITS[span[2][0].lower()].format(span[1]))
    return Value(text)


def _iso(text: str) -> str:
    """A date as people write it, in ISO 8601; anything else unchanged, for the model to refuse."""
    plainly = text.translate(_CHINESE).strip(" :") if "年" in text or "：" in text else text
    written = _WRITTEN.fullmatch(plainly)
    if written is None:
        return "?" if _NUMBER.fullmatch(text) else text  # a spreadsheet's 46348: pydantic would count it from 1970
    year, month, day, hour, minute, second, offset = written.groups()
    iso = f"{year}-{month:0>2}-{day:0>2}"
    return iso if hour is None else f"{iso}T{hour:0>2}:{minute}:{second or '00'}{offset or ''}"


def _instant(iso: str, zone: ZoneInfo, whole_days: bool) -> Value:
    """The instant with its offset, and whether the zone gave it one."""
    is_day = whole_days and _DAY.fullmatch(iso)
    if not is_day and not _WITHOUT_OFFSET.fullmatch(iso):
        return Value(iso)
    try:
        instant = datetime.fromisoformat(iso).replace(tzinfo=zone).isoformat()
    except ValueError:
        return Value(iso)  # no such day or hour: the model says so
    return Value(instant, "day_assumed" if is_day else "zone_assumed")

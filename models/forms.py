"""What people type: text that stays private, codes that need not, and the base of every form and every case."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    PlainSerializer,
    PrivateAttr,
    SerializationInfo,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

from models.people import Role

LEDGER = "ledger"
"""Serialisation context that writes texts in full. Any other context, and none, writes HIDDEN."""

HIDDEN = "§"


def _hide(text: str, info: SerializationInfo) -> str:
    return text if info.context == LEDGER else HIDDEN


Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=8000),
    PlainSerializer(_hide, return_type=str),
]
"""Free text, up to 8,000 characters. Whole in the ledger's encrypted columns; `§` everywhere else, history first."""

Code = Annotated[str, StringConstraints(pattern=r"^[\w.:#/\-〔〕（）【】()]{1,64}$")]
"""A code, a number or an id: something that decides, sorts or finds, and never a sentence. 沪客诉〔2026〕12号 is one."""


def _on_the_calendar(instant: datetime) -> datetime:
    if not 1900 <= instant.year <= 2200:
        raise PydanticCustomError("instant_out_of_range", "must lie between the years 1900 and 2200")
    return instant


Instant = Annotated[AwareDatetime, AfterValidator(_on_the_calendar)]
"""A point in time with its offset, far enough from the calendar's ends to be reckoned with."""


class Private(BaseModel):
    """Base of everything people type: strict about its fields, never changed, and silent when printed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return ()


class FieldError(BaseModel):
    """One field the door will not take: where it is, and the catalogue's code and values for the reason."""

    field: str
    code: str
    values: dict[str, str] = {}


@dataclass(frozen=True)
class Stamp:
    """Who handed a form in, when it was recorded (UTC), and in which submission. The door sets it; nobody types it."""

    by: str
    role: Role
    at: datetime
    submission: str


class Form(Private):
    """What a person hands in. Its fields are the input schema, the validator and the return type of an awaited task."""

    form: ClassVar[str]
    """The form's name on every door: the class name in snake case."""
    may: ClassVar[frozenset[Role]] = frozenset({Role.SPECIALIST, Role.MANAGER})
    """The roles that may hand it in."""

    _stamp: Stamp | None = PrivateAttr(default=None)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        cls.form = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    def stamped(self, stamp: Stamp) -> Self:
        self._stamp = stamp
        return self

    @property
    def stamp(self) -> Stamp:
        if self._stamp is None:
            raise RuntimeError(f"{self.form} was never handed in")
        return self._stamp

    @property
    def at(self) -> datetime:
        """The instant the submission was recorded, UTC."""
        return self.stamp.at

    def objections(self, now: datetime) -> list[FieldError]:
        """What cannot be so at this instant (UTC). Whether the case may take the form is for its desk to say."""
        return []

    def unknown(self, intake: Any) -> list[FieldError]:
        """What it names that the intake rules of the policy do not know; a new case is asked the same."""
        return []

    def filed(self) -> Self:
        """What its case keeps of it."""
        return self

    def unfit(self, promises: Any) -> list[FieldError]:
        """What the promises and terms that the case was opened under have against it."""
        return []


class Bundle(Form):
    """Several forms in one submission: those whose tasks must be open now, and those that close their tasks as they come up."""

    def now(self) -> list[Form]:
        raise NotImplementedError

    def then(self) -> list[Form]:
        raise NotImplementedError


class Case(Private):
    """The facts a case opens with. They are frozen with its opening submission."""

    number_field: ClassVar[str]
    """The field that holds the business number, unique for ever within the process."""
    may_open: ClassVar[frozenset[Role]] = frozenset({Role.STORE, Role.SPECIALIST, Role.MANAGER})

    @property
    def number(self) -> str:
        return str(getattr(self, self.number_field))

    @property
    def store_code(self) -> str | None:
        """The store concerned, when the process knows one: it finds the region and so the specialist."""
        return None

    @property
    def earlier_case(self) -> str | None:
        """The business number of a case of this process that this one continues."""
        return None

    @property
    def region_code(self) -> str | None:
        """The region, where the process knows it without a store."""
        return None

    @property
    def taken_for(self) -> str | None:
        """Of which kind it is, where the cases of its process are of several."""
        return None

    @property
    def about(self) -> str | None:
        """The employee the case is about, when it is about one: he does not handle it."""
        return None

    def objections(self, intake: Any, now: datetime) -> list[FieldError]:
        """What the intake rules of the policy refuse at this instant (UTC). Empty when the case may open."""
        return []

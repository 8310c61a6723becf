"""The canary: a case of nobody's that must escalate, so that somebody hears when escalations have stopped."""

from datetime import UTC, datetime, timedelta
from typing import Self

from pydantic import BaseModel, Field, model_validator

from models.forms import Case, Code, Form
from models.people import Person, Role
from models.promises import Promise
from models.tasks import Process

WATCH = Person(id="watch", name="守望 · watch", role=Role.SYSTEM)
"""Who opens it, and ends it once it has escalated."""
OURS = frozenset({Role.SYSTEM})

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Canary(Case):
    """One escalation to come. The turn it is opened for makes it one, however many watches there are."""

    number_field = "turn"
    may_open = OURS

    turn: Code


class Heard(Form):
    """What is owed, and never handed in before it is late; then the watch says that it has heard."""

    may = OURS


class CanaryIntake(BaseModel):
    """How often, and how long it may be silent after its due time."""

    every: timedelta = Field(ge=timedelta(0))
    """Zero: there is none."""
    bound: timedelta = Field(gt=timedelta(0))

    def turn(self, now: datetime) -> str:
        """The turn that is on at an instant (UTC), called after when it began."""
        return f"{now - (now - EPOCH) % self.every:%Y-%m-%dT%H:%M:%S}"


class CanaryPromises(BaseModel):
    heard: Promise

    @model_validator(mode="after")
    def _bothers_nobody(self) -> Self:
        if not self.heard.ladder or any(rung.tell is not Role.SYSTEM for rung in self.heard.ladder):
            raise ValueError("the canary's ladder tells `system`, and nobody else")
        return self


CANARY = Process(
    name="canary",
    case=Canary,
    intake=CanaryIntake,
    promises=CanaryPromises,
    forms=(),
    sent=(Heard,),
)

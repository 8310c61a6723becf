"""Who works here: roles, people, stores, and how a role becomes a person (handbook 1.2)."""

import hashlib
from datetime import date
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from models.words import LANGUAGES, say


class Role(StrEnum):
    """A part somebody plays. Workflows know roles only; people are found when something happens."""

    OWNER = "owner"
    """Whoever the task belongs to at that moment; never a person's own role."""
    STORE = "store"
    SPECIALIST = "specialist"
    MANAGER = "manager"
    DIRECTOR = "director"
    SUPERVISOR = "supervisor"
    """Of a region's stores."""
    CONTACT = "contact"
    """A department's contact, who answers when a case asks the department."""
    ADMINISTRATOR = "administrator"
    SYSTEM = "system"
    """The desk's own calendar, and the systems of the chain that hand something in; never a person of the directory."""


SUPERIOR = {
    Role.SPECIALIST: Role.MANAGER,
    Role.CONTACT: Role.MANAGER,
    Role.SUPERVISOR: Role.MANAGER,
    Role.MANAGER: Role.DIRECTOR,
}
"""Who stands in where nobody plays a role, or only the person a case is about."""


class Person(BaseModel):
    """Somebody who acts or hears. `id` is a staff number, never a name."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    name: str
    role: Role
    regions: tuple[str, ...] = ()
    store: str | None = None
    department: str | None = None
    """Of a department's contact: merchandise, brand, logistics, training, administration."""

    def may_see(self, store: str | None, region: str | None) -> bool:
        """Whether the cases of a store are his to see. A department's contact sees those in which he is asked, no others."""
        match self.role:
            case Role.STORE:
                return store == self.store
            case Role.SUPERVISOR:
                return region in self.regions
            case Role.CONTACT:
                return False
        return True


CALENDAR = Person(id="calendar", name="日程 · calendar", role=Role.SYSTEM)
"""Who opens what the calendar opens: a month's run, a day's list."""


class Store(BaseModel):
    """A shop of the chain and the region it belongs to."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    code: str
    name: str
    region: str
    opens_on: date | None = None
    """Its first day; None for one that has always been there."""
    closes_on: date | None = None
    """The first day it is no more."""
    successor: str | None = None
    """The store that its members go to then."""

    def active_on(self, day: date) -> bool:
        return (self.opens_on is None or self.opens_on <= day) and (self.closes_on is None or day < self.closes_on)


class Directory(BaseModel):
    """The people and stores of the chain, small enough to be one file until the organisation is data."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    stores: tuple[Store, ...] = ()
    people: tuple[Person, ...]

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        ids = [person.id for person in self.people]
        codes = {store.code for store in self.stores}
        for twice in {known for known in ids if ids.count(known) > 1}:
            raise _unfit("person_twice", id=twice)
        for person in self.people:
            if person.role in (Role.OWNER, Role.SYSTEM):
                raise _unfit("nobody_is_owner", id=person.id)
            if person.role is Role.STORE and person.store is None:
                raise _unfit("store_without_store", id=person.id)
            if person.store and person.store not in codes:
                raise _unfit("store_of_nobody", id=person.id, store=person.store)
        for needed in (Role.SPECIALIST, Role.MANAGER, Role.DIRECTOR, Role.ADMINISTRATOR):
            if not any(person.role is needed for person in self.people):
                raise _unfit("nobody_is", needed=needed.value)
        return self

    def person(self, id: str) -> Person | None:
        return next((person for person in self.people if person.id == id), None)

    def name(self, id: str) -> str:
        """How a person is called; somebody who is gone by his id."""
        person = self.person(id)
        return person.name if person else id

    def store(self, code: str | None) -> Store | None:
        return next((known for known in self.stores if known.code == code), None)

    def region(self, store: str | None) -> str | None:
        known = self.store(store)
        return known.region if known else None

    def resolve(
        self,
        role: Role,
        case: str,
        region: str | None,
        store: str | None,
        unit: str | None = None,
        about: str | None = None,
    ) -> str:
        """The person who plays a role for a case: of the unit, the store or the region first, spread evenly by case id.

        Never the employee the case is `about`: where nobody else plays the role, his superior does.
        """
        able = [person for person in self.people if person.role is role and person.id != about]
        if unit:
            able = [person for person in able if unit in (person.department, person.store)]
        if not able and role in SUPERIOR:
            return self.resolve(SUPERIOR[role], case, region, store, about=about)
        local = [person for person in able if region in person.regions or (store and person.store == store)]
        choice = local or able or [person for person in self.people if person.role is Role.ADMINISTRATOR]
        return choice[int(hashlib.sha256(case.encode()).hexdigest(), 16) % len(choice)].id


def _unfit(code: str, **values: str) -> PydanticCustomError:
    """What does not hold together, in both languages: whoever edits the file may read either."""
    return PydanticCustomError(code, " · ".join(say("field", code, language, **values) for language in LANGUAGES))

"""The organisation: who plays a role for a case at an instant, who stands in, and who hears next (handbook 1.2, 1.8)."""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Protocol, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from models.duty import Absence, after, next_hours
from models.people import DEPARTMENTS, SUPERIOR, Person, Role, Store
from models.words import LANGUAGES, say

LONG_OFF = timedelta(hours=72)
"""Whoever is not on duty within so long is passed over, where somebody else is. A weekend is not long."""


class Who(Protocol):
    """Who is who, as everybody asks it. A `Directory` answers for one version of the organisation."""

    @property
    def people(self) -> tuple[Person, ...]: ...
    @property
    def stores(self) -> tuple[Store, ...]: ...
    def person(self, id: str) -> Person | None: ...
    def name(self, id: str) -> str: ...
    def called(self, id: str) -> str: ...
    def region_name(self, region: str | None) -> str | None: ...
    def store(self, code: str | None) -> Store | None: ...
    def region(self, store: str | None) -> str | None: ...
    def resolve(self, role: Role, wanted: "Wanted") -> str: ...
    def next_in_line(self, person: str, told: Collection[str], wanted: "Wanted") -> str | None: ...
    def answers_by(self, person: str, since: datetime, span: timedelta) -> datetime: ...


@dataclass(frozen=True)
class Wanted:
    """Whom a case needs: where it is, what it is about, when (UTC), and how much the others have to do."""

    case: str
    at: datetime
    region: str | None = None
    store: str | None = None
    unit: str | None = None
    about: str | None = None
    process: str | None = None
    before: Callable[[], str | None] = lambda: None
    """Who did it for this case before; asked only where several could."""
    load: Callable[[], Mapping[str, int]] = dict
    """Open tasks by person; asked only where several could do it, and none of them has."""


class Directory(BaseModel):
    """The people and stores of the chain, who is away, and who stands in: one version of the organisation."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    zone: str = "Asia/Shanghai"
    """Whose clock the rosters follow."""
    regions: dict[str, Annotated[str, Field(min_length=1)]] = {}
    """How the regions are called, by code: on paper and in workbooks. One that is not here is called by its code."""
    stores: tuple[Store, ...] = ()
    people: tuple[Person, ...]
    absences: tuple[Absence, ...] = ()

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
            if person.role is Role.CONTACT and person.department not in DEPARTMENTS:
                raise _unfit("contact_of_nobody", id=person.id, departments=", ".join(DEPARTMENTS))
            for deputy in set(person.deputies) - set(ids):
                raise _unfit("unknown_deputy", id=person.id, deputy=deputy)
            if loop := self._loop(person):
                raise _unfit("deputy_loop", id=person.id, loop=" → ".join(loop))
        for absence in self.absences:
            for named in {absence.person, absence.deputy or absence.person} - set(ids):
                raise _unfit("absence_of_nobody", id=absence.person, person=named)
            if absence.person == absence.deputy:
                raise _unfit("own_deputy", id=absence.person)
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

    def called(self, id: str) -> str:
        """A person's name where it stands alone: with his id where somebody else has the same."""
        return _apart(id, {person.id: person.name for person in self.people})

    def region_name(self, region: str | None) -> str | None:
        """How a region is called, as `called` has it."""
        return _apart(region, self.regions) if region else region

    def store(self, code: str | None) -> Store | None:
        return next((known for known in self.stores if known.code == code), None)

    def region(self, store: str | None) -> str | None:
        known = self.store(store)
        return known.region if known else None

    def resolve(self, role: Role, wanted: Wanted) -> str:
        """The person who plays a role for a case at that instant.

        Of the unit, the store or the region first, and whose speciality it is; there, and on duty soon; with the least to
        do. Never the employee the case is about. Where nobody is there, who stands in; where nobody plays the role, or
        nobody in the region, the superior: nothing is nobody's. What is the system's own is no person's.
        """
        if role is Role.SYSTEM:
            return role.value
        for there in (self.is_there, self.is_present, _anybody):
            playing: Role | None = role
            while playing:
                of_role = wanted if playing is role else replace(wanted, unit=None)
                if found := self._playing(playing, of_role, there):
                    return found
                playing = SUPERIOR.get(playing)
        return self._of_several([person for person in self.people if person.role is Role.ADMINISTRATOR], wanted)

    def _playing(self, role: Role, wanted: Wanted, there: "There") -> str | None:
        able = [person for person in self.people if person.role is role and person.id != wanted.about]
        if wanted.unit:
            able = [person for person in able if wanted.unit in (person.department, person.store)]
        local = [p for p in able if wanted.region in p.regions or (wanted.store and p.store == wanted.store)]
        choice = local or ([] if role is Role.SPECIALIST and wanted.region else able)
        special = [person for person in choice if person.has_post_of(wanted.process)]
        free = [person for person in choice if not person.specialities]
        for some in (special, free, choice):
            if at_hand := [person for person in some if there(person, wanted.at)]:
                return self._of_several(at_hand, wanted)
        stand_ins = (self._stands_in(person, wanted, there) for person in choice)
        return next((stands_in.id for stands_in in stand_ins if stands_in), None)

    def next_in_line(self, person: str, told: Collection[str], wanted: Wanted) -> str | None:
        """Who hears next where this person does not answer: who stands in for him, then his superior; None at the top."""
        known = self.person(person)
        if known is None:
            return None
        if stands_in := self._stands_in(known, wanted, self.is_there, told):
            return stands_in.id
        superior = SUPERIOR.get(known.role)
        while superior:
            found = self.resolve(superior, replace(wanted, unit=None))
            if found not in told:
                return found
            superior = SUPERIOR.get(superior)
        return None

    def answers_by(self, person: str, since: datetime, span: timedelta) -> datetime:
        """By when somebody has had so long on duty."""
        known = self.person(person)
        return after(known.roster if known else None, since, span, ZoneInfo(self.zone))

    def is_present(self, person: Person, at: datetime) -> bool:
        """Not absent."""
        return not any(absence.person == person.id and absence.holds(at) for absence in self.absences)

    def is_there(self, person: Person, at: datetime) -> bool:
        """Neither absent, nor off duty for long."""
        return self.is_present(person, at) and next_hours(person.roster, at, ZoneInfo(self.zone)) - at <= LONG_OFF

    def _of_several(self, able: list[Person], wanted: Wanted) -> str:
        """Whoever did it before, else the one with the least to do; of those, spread evenly by case id."""
        if len(able) > 1:
            if (before := wanted.before()) in {person.id for person in able}:
                return str(before)
            load = wanted.load()
            least = min(load.get(person.id, 0) for person in able)
            able = [person for person in able if load.get(person.id, 0) == least]
        return able[int(hashlib.sha256(wanted.case.encode()).hexdigest(), 16) % len(able)].id

    def _stands_in(self, person: Person, wanted: Wanted, there: "There", passed: Collection[str] = ()) -> Person | None:
        """Who stands in for somebody and is there: whom his absence names, then his deputies, and so on for those."""
        line, seen = [person], {person.id}
        while line:
            away = line.pop(0)
            named = [a.deputy for a in self.absences if a.person == away.id and a.deputy and a.holds(wanted.at)]
            for named_so in [*named, *away.deputies]:
                deputy = self.person(named_so)
                if deputy is None or deputy.id in seen:
                    continue
                seen.add(deputy.id)
                if deputy.id not in (*passed, wanted.about) and there(deputy, wanted.at):
                    return deputy
                line.append(deputy)
        return None

    def _loop(self, person: Person) -> list[str]:
        """The way from somebody over deputies back to him; empty where there is none."""
        ways, seen = [[person.id]], set[str]()
        while ways:
            way = ways.pop()
            known = self.person(way[-1])
            for deputy in known.deputies if known else ():
                if deputy == person.id:
                    return [*way, deputy]
                if deputy not in seen:
                    seen.add(deputy)
                    ways.append([*way, deputy])
        return []


There = Callable[[Person, datetime], bool]


def _apart(code: str, names: Mapping[str, str]) -> str:
    """The name of a code, with the code where others have that name; of one without a name the code."""
    name = names.get(code, code)
    return f"{name}（{code}）" if list(names.values()).count(name) > 1 else name


def _anybody(_person: Person, _at: datetime) -> bool:
    return True


def _unfit(code: str, **values: str) -> PydanticCustomError:
    """What does not hold together, in both languages: whoever edits the file may read either."""
    text = " · ".join(say("field", code, language, **values) for language in LANGUAGES)
    return PydanticCustomError(code, text.replace("{", "").replace("}", ""), values)

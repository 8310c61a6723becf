"""Who works here: roles, people, stores, and how a role becomes a person (handbook 1.2)."""

from datetime import date
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from models.duty import Roster
from models.reach import Reachable


class Role(StrEnum):
    """A part somebody plays. Workflows know roles only; people are found when something happens."""

    OWNER = "owner"
    """Whoever the task belongs to at that moment; never a person's own role."""
    STORE = "store"
    SPECIALIST = "specialist"
    MANAGER = "manager"
    DIRECTOR = "director"
    GENERAL_MANAGER = "general_manager"
    """Approves what is beyond the director; in no ladder (5.2 E36)."""
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


DEPARTMENTS = ("merchandise", "brand", "logistics", "training", "administration", "personnel")
"""Who may be asked in a case, besides another store."""


POSTS: dict[str, tuple[str, ...]] = {
    "member_information": ("audit", "audit_list", "expiry", "expiry_notice", "expiry_calls"),
    "member_analysis": (),
    "complaints": ("complaint",),
    "gifts": (),
    "service": ("visit_plan", "visit_month"),
}
"""The five posts into which the specialists may split (handbook 1.2), and the processes that are each one's; the latter ours."""


class Person(Reachable):
    """Somebody who acts or hears. `id` is a staff number, never a name."""

    id: str
    name: str
    role: Role
    regions: tuple[str, ...] = ()
    store: str | None = None
    department: str | None = None
    """Of a department's contact: one of `DEPARTMENTS`."""
    specialities: tuple[str, ...] = ()
    """His post, or the processes that are his rather than others'; none, and all are."""
    deputies: tuple[str, ...] = ()
    """Who stands in for him, the first one who is there."""
    roster: Roster | None = None
    """His hours; None where every hour is one."""

    def has_post_of(self, process: str | None) -> bool:
        """Whether a process is his by speciality."""
        return any(process == one or process in POSTS.get(one, ()) for one in self.specialities)

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

MAILBOX = Person(id="mailbox", name="客诉邮箱 · mailbox", role=Role.SPECIALIST)
"""Who opens what comes by mail. The specialist's part: a complaint takes nothing from the calendar's role yet."""


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
        return (self.opens_on is None or self.opens_on <= day) and not self.is_closed_on(day)

    def is_closed_on(self, day: date) -> bool:
        return self.closes_on is not None and self.closes_on <= day

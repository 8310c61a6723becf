"""The new-member audit (handbook 4.1): the day's list of a region, and the member of whom something is wanting."""

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from models.forms import Case, Code, Form, Instant, Text
from models.members import MEMBER_FIELDS, MemberField
from models.people import Person, Role
from models.promises import Promise
from models.tasks import Process

MEMBER_SYSTEM = Person(id="member-system", name="会员系统 · member system", role=Role.SYSTEM)
"""Who brings what the chain's own member system sends."""

AUDITORS = frozenset({Role.SPECIALIST, Role.MANAGER})

Problem = Literal["missing", "malformed", "duplicate", "minor", "rejected"]
"""What is wrong with a field: not filled in; no phone, day or address; another member's too; of a child; an auditor's word."""
FOR_THE_STORE = frozenset({"missing", "malformed", "rejected"})
"""What the store can put right. Of the rest the auditor decides, once the store has looked."""

Region = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]+$")]
Fields = tuple[MemberField, ...]


class Nothing(BaseModel):
    """The door asks nothing of these cases: it opens them itself."""


# The day's list


class AuditList(Case):
    """The new members of a region and a day in whose records the rules found nothing wanting. A day whose list was audited before it was over begins another one."""

    number_field = "list_no"
    may_open = frozenset({Role.SYSTEM})

    list_no: Code
    region: Region
    day: date
    began_at: Instant
    """The first instant of the day."""

    @property
    def region_code(self) -> str | None:
        return self.region


class Check(Form):
    """The list was audited: every line that was not rejected is complete. `lines` is how many its auditor saw."""

    lines: Annotated[int, Field(ge=0)]


class Reject(Form):
    """A line of the list is not as it should be: which fields, and why. The store is asked."""

    member: Code
    fields: Annotated[Fields, Field(min_length=1)]
    note: Text


class AuditListPromises(BaseModel):
    check: Promise


AUDIT_LIST = Process(
    name="audit_list",
    case=AuditList,
    intake=Nothing,
    promises=AuditListPromises,
    forms=(Check,),
    acts=(Reject,),
)


# The member of whom something is wanting


class Audit(Case):
    """A member whose record the rules or the auditor found wanting, and what is wrong with which field."""

    number_field = "audit_no"
    may_open = frozenset({Role.SYSTEM})

    audit_no: Code
    member: Code
    version: int
    store: Code
    member_no: Text
    """For the store, which knows him by it."""
    findings: dict[MemberField, Problem]
    note: Text | None = None
    """The auditor's words, where a line of the list was rejected."""

    @property
    def store_code(self) -> str | None:
        return self.store


class Supplement(Form):
    """What the store fills in, here or, by a new version, in the member system. `declined`: the member would not say; `confirmed`: it is right as it stands."""

    may = frozenset({Role.STORE, Role.SPECIALIST, Role.MANAGER, Role.SYSTEM})

    card_no: Text | None = None
    name: Text | None = None
    gender: Text | None = None
    birth_date: Text | None = None
    phone: Text | None = None
    email: Text | None = None
    address: Text | None = None
    joined_on: Text | None = None
    valid_from: Text | None = None
    valid_through: Text | None = None
    consent: Text | None = None
    declined: Fields = ()
    confirmed: Fields = ()
    note: Text | None = None
    version: SkipJsonSchema[int | None] = None
    """Of the member system, where it came from there. The door sets it."""
    still: SkipJsonSchema[Fields] = ()
    """What is wanting still. The door finds it by the rules, whatever stands here."""

    @property
    def given(self) -> dict[str, str]:
        """What it says, field by field."""
        return {name: value for name in MEMBER_FIELDS if (value := getattr(self, name))}

    @model_validator(mode="after")
    def _says_something(self) -> "Supplement":
        if not (self.given or self.declined or self.confirmed or self.version):
            raise PydanticCustomError("nothing_supplemented", "fill in one field at least")
        return self


class Review(Form):
    """The record was audited again: complete, or which fields are not. Mostly the day's list brings it."""

    may = frozenset({Role.SPECIALIST, Role.MANAGER, Role.SYSTEM})

    accepted: bool
    fields: Fields = ()
    note: Text | None = None

    @model_validator(mode="after")
    def _says_what_is_wrong(self) -> "Review":
        if self.accepted == bool(self.fields):
            raise PydanticCustomError(
                "accepted_or_fields", "name the fields where it is not accepted, and none where it is"
            )
        return self


class AuditTerms(BaseModel):
    """What an audit is opened under besides its promises."""

    returns: int = 2
    """So many times sent back to the store, and the region supervisor and the manager hear."""


class AuditPromises(BaseModel):
    supplement: Promise
    review: Promise
    terms: AuditTerms = AuditTerms()


class AuditIntake(BaseModel):
    """What a member's record must say. Read at the door for every record."""

    required: frozenset[MemberField]
    may_decline: frozenset[MemberField]
    """Of the required ones, those that a member may decline to say: an answer, too."""
    minor_below: int
    """Years of age; a younger member's record is for the auditor to decide on."""


AUDIT = Process(
    name="audit",
    case=Audit,
    intake=AuditIntake,
    promises=AuditPromises,
    forms=(Supplement, Review),
)

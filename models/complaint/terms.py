"""What a complaint is opened under: what the door asks, the promises, who may promise what."""

from datetime import timedelta
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel

from models.complaint.facts import Remedy
from models.complaint.forms import Solution
from models.people import Role
from models.promises import AT_DUE, Promise, Rung


class Limit(BaseModel):
    """What a role may promise by itself: up to an amount, of some kinds of remedy."""

    amount: Decimal
    remedies: frozenset[Remedy]

    def covers(self, solution: Solution) -> bool:
        return self.allows(solution.amount, solution.remedy)

    def allows(self, amount: Decimal, remedy: Remedy | None) -> bool:
        """Where no remedy is named, any will do."""
        return amount <= self.amount and (remedy is None or remedy in self.remedies)


def _of_ours(name: str, within: timedelta, *more: Rung) -> Promise:
    """For cases that were opened before the policy had the promise."""
    ladder = (*more, Rung(AT_DUE, Role.MANAGER), Rung(timedelta(hours=24), Role.DIRECTOR))
    return Promise(name=name, within=within, basis="ours", ladder=ladder)


class Question(BaseModel):
    """A question of the satisfaction survey, and how it is answered: 1 to 5, yes or no, in words."""

    code: str
    zh: str
    en: str
    way: Literal["score", "yes_no", "text"]
    required: bool = False


class ComplaintTerms(BaseModel):
    """What a complaint is opened under besides its promises."""

    edition: int = 1
    """The edition of the process a case was opened under: it keeps the steps it began with."""
    authority: dict[Role, Limit] = {}
    """By role; a role that is not named may promise anything."""
    refusals: int = 2
    """So many refused proposals, and the manager decides how it goes on."""
    zone: str = "Asia/Shanghai"
    survey: tuple[Question, ...] = ()
    attempts: int = 3
    attempt_days: int = 2
    """Before a case is closed without reaching the customer: so many attempts, on so many days, on two channels at least."""


class ComplaintPromises(BaseModel):
    """What a complaint is opened under: a promise for each task it may owe, and the terms."""

    reply: Promise
    solution: Promise
    new_solution: Promise
    consent: Promise
    execution: Promise
    callback: Promise
    record: Promise
    completion: Promise = Promise(name="completion", within=timedelta(hours=48), basis="ours", ladder=())
    agreement: Promise = _of_ours("agreement", timedelta(hours=1))
    agreed_reply: Promise = _of_ours("agreed_reply", timedelta(hours=24))
    decision: Promise = _of_ours("decision", timedelta(hours=24))
    assist: Promise = _of_ours("assist", timedelta(hours=24))
    external_reply: Promise = _of_ours("external_reply", timedelta(hours=24))
    opinion: Promise = _of_ours("opinion", timedelta(hours=48))
    supplement: Promise = _of_ours("supplement", timedelta(hours=48))
    sign_off: Promise = _of_ours("sign_off", timedelta(hours=24))
    second_callback: Promise = _of_ours("second_callback", timedelta(days=7))
    terms: ComplaintTerms = ComplaintTerms()

"""The activity that makes a month's list of expiring members: given how, by whoever puts the parts together."""

from collections.abc import Callable

from pydantic import BaseModel
from temporalio import activity


class Wanted(BaseModel):
    """The list of cards that expire in a month, for the case that owes it."""

    case: str
    month: str


class ExpiryLists:
    """`make_list` writes the list a few members at a time, hands in that it is made, and opens the notices of those on it.

    It begins where it was stopped: run again, it lists nobody twice, and changes nobody who is listed.
    """

    def __init__(self, make: Callable[[str, str, Callable[[], object]], None]) -> None:
        self._make = make

    @activity.defn(no_thread_cancel_exception=True)
    def make_list(self, wanted: Wanted) -> None:
        self._make(wanted.case, wanted.month, activity.heartbeat)

"""What a worker does besides the ledger: activities that need a door of this house, each given what to call."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from activities.expiry import ExpiryLists
from activities.opening import Openings
from settings import House
from starter.calendar.almanac import Almanac
from starter.expiry.lists import Lists
from starter.submissions import Submissions


def errands(
    house: House, submissions: Submissions, almanac: Almanac, clock: Callable[[], datetime]
) -> list[Callable[..., Any]]:
    """The activities of the processes that have any of their own: one line each."""
    return [
        Openings(almanac.open_due).open_period,
        ExpiryLists(Lists(house, submissions, clock).make).make_list,
    ]

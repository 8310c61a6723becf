"""The activity that opens what the calendar says: given how, by whoever puts the parts together."""

from collections.abc import Callable
from datetime import datetime

from pydantic import BaseModel
from temporalio import activity


class Due(BaseModel):
    """A process whose cases are to be opened, and when the calendar said so; None where the engine's schedule says it."""

    process: str
    at: datetime | None = None


class Openings:
    """`open_due` opens every case of the period that began last at an instant, and says how many were new.

    It commits a few at a time and begins where it was stopped: run again, it opens none twice.
    """

    def __init__(self, open_due: Callable[[str, datetime, Callable[[], object]], int]) -> None:
        self._open_due = open_due

    @activity.defn(no_thread_cancel_exception=True)
    def open_period(self, due: Due) -> int:
        assert due.at
        return self._open_due(due.process, due.at, activity.heartbeat)

"""The ways out of `run()` before it is done: of the case, or of a stretch of it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from models.forms import Form
from workflows.owed import Owed

CANCELLED = "cancelled"

Kept = tuple[type[Form] | Owed[Any], ...]
"""What is owed on where a stretch is left: all of a form, or a task."""


class Ended(Exception):
    """A case leaves by a side exit. Raised at whatever await its `run()` stands."""

    def __init__(self, because: str) -> None:
        super().__init__(because)
        self.because = because


class Left(Ended):
    """A stretch of `run()` is left by a side exit, `keeping` some of what is owed; what comes after it is owed all the same."""

    def __init__(self, because: str, keeping: Kept = ()) -> None:
        super().__init__(because)
        self.keeping = keeping

    def keeps(self, owed: Owed[Any]) -> bool:
        return owed in self.keeping or owed.form in self.keeping


class Again(Exception):
    """A case is handled once more, from where its handling begins. Raised at whatever await its `run()` stands."""


class Stretch:
    """A part of `run()`, and when it was over: `run()` says so at its end, `leave` where it was left."""

    def __init__(self) -> None:
        self.over_at: datetime | None = None


class Exits:
    """Which of them is open: whoever waits in `run()` takes it. A clock that broke is one, too: nobody is to wait for it."""

    def __init__(self) -> None:
        self.broken: BaseException | None = None
        self._ended: str | None = None
        self._left: Left | None = None
        self._taken: str | None = None
        self._is_in_stretch = False
        self._leads_back = False

    @property
    def is_open(self) -> bool:
        return bool(self.broken or self._ended or self._left or self._leads_back)

    @property
    def because(self) -> str | None:
        """Why the case is not handled to its end."""
        return self._ended or self._taken

    def end(self, because: str) -> None:
        self._ended = because

    def leave(self, because: str, keeping: Kept) -> None:
        self._left = Left(because, keeping)

    @property
    def may_leave(self) -> bool:
        return self._is_in_stretch and self._left is None and self._ended is None

    def shut(self) -> None:
        self._ended = self._left = self._taken = None

    def lead_back(self) -> None:
        self._leads_back = True

    def take(self) -> None:
        """Raise what leads out, where something does."""
        if self.broken:
            raise self.broken
        if self._ended:
            raise Ended(self._ended)
        if self._left:
            raise self._left
        if self._leads_back:
            self._leads_back = False
            raise Again

    @contextmanager
    def of_case(self) -> Iterator[None]:
        """What is left when one is taken, of whichever kind."""
        try:
            yield
        except Ended as ended:
            self._taken = ended.because
        except asyncio.CancelledError:  # an operator's cancel ends the case here as it does in the engine
            self._ended = CANCELLED

    @contextmanager
    def of_stretch(self) -> Iterator[None]:
        """What `leave` leaves."""
        self._is_in_stretch, self._taken = True, None
        try:
            yield
        except Left as left:
            self._taken, self._left = left.because, None
            raise
        finally:
            self._is_in_stretch = False

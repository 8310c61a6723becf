"""A part of the product as it is, killed (-9) right after a chosen commit: `python -m tests.fire.doomed MODULE …`.

Its dooms are files named after the part and a WHAT, with a number in each: the so manieth commit from now that holds a WHAT.
"""

import os
import runpy
import signal
import sys
from pathlib import Path
from threading import Lock

from sqlalchemy import event
from sqlalchemy.orm import Session

from models.tables import EventRow, SubmissionRow

DOOM = "KEFU_FIRE_DOOM"
SUBMISSION, RECORD, RUNG = "submission", "record", "rung"
_counting = Lock()


def of(part: Path, what: str) -> Path:
    return part.with_name(f"{part.name}.{what}")


def _note(session: Session, _context: object) -> None:
    session.info.setdefault("holds", set()).update(
        SUBMISSION if isinstance(row, SubmissionRow) else RUNG if row.key.startswith("rung/") else RECORD
        for row in session.new
        if isinstance(row, SubmissionRow | EventRow)
    )


def _die(session: Session) -> None:
    for what in session.info.pop("holds", ()):
        doom = of(Path(os.environ[DOOM]), what)
        with _counting:
            if not doom.exists():
                continue
            left = int(doom.read_text()) - 1
            if left:
                write(doom, left)
            else:
                doom.unlink()
                os.kill(os.getpid(), signal.SIGKILL)


def write(doom: Path, count: int) -> None:
    """Whole or not at all: somebody reads it at any moment."""
    beside = doom.with_suffix(".new")
    beside.write_text(str(count))
    beside.replace(doom)


if __name__ == "__main__":
    event.listen(Session, "after_flush", _note)
    event.listen(Session, "after_commit", _die)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)

"""A part of the product as it is, killed (-9) right after a chosen commit: `python -m tests.fire.doomed MODULE …`.

Its doom is written in a file of the part's name, `WHAT COUNT`: the COUNTth commit from now that holds a WHAT.
"""

import os
import runpy
import signal
import sys
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.orm import Session

from models.tables import EventRow, SubmissionRow

DOOM = "KEFU_FIRE_DOOM"
SUBMISSION, RECORD, RUNG = "submission", "record", "rung"


def _note(session: Session, _context: object) -> None:
    session.info.setdefault("holds", set()).update(
        SUBMISSION if isinstance(row, SubmissionRow) else RUNG if row.key.startswith("rung/") else RECORD
        for row in session.new
        if isinstance(row, SubmissionRow | EventRow)
    )


def _die(session: Session) -> None:
    holds = session.info.pop("holds", set())
    doom = Path(os.environ[DOOM])
    if holds and doom.exists():
        what, count = doom.read_text().split()
        if what in holds and int(count) > 1:
            doom.write_text(f"{what} {int(count) - 1}")
        elif what in holds:
            doom.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    event.listen(Session, "after_flush", _note)
    event.listen(Session, "after_commit", _die)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)

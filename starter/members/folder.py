"""A folder into which the chain's systems lay files: each is taken once, and moved when it is done.

folder/…           as they come; one that was written to a moment ago is left alone
folder/taking/…    what is being taken; after an interruption it goes on from here
folder/done/…      taken; beside it its rejected rows, where there are any
folder/failed/…    no table of ours; beside it the reason
"""

import re
from functools import partial
from pathlib import Path
from time import time

import structlog

from models.audit import MEMBER_SYSTEM
from models.words import LANGUAGES
from starter.front import Front
from starter.members.files import FileReport, kind_of, take_file
from starter.members.telling import tell_administrators
from starter.spreadsheets.sheets import CannotImport

KINDS = frozenset({".csv", ".xlsx", ".xls"})
STILL = 5.0
"""Seconds since anybody wrote to a file, before it is believed to be whole."""
CORRECTED = re.compile(r"\.rejected", re.IGNORECASE)
"""In the name of a file that is laid down: rejected rows, corrected. While it is taken, that would be the name of our own."""

log = structlog.get_logger()


def take_folder(front: Front, folder: Path, still: float = STILL) -> list[FileReport]:
    """Take every file that is there. What fails is put aside and holds up no other."""
    taking = folder / "taking"
    for place in (taking, folder / "done", folder / "failed"):
        place.mkdir(parents=True, exist_ok=True)
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix.lower() in KINDS and time() - file.stat().st_mtime >= still:
            file.rename(_free(taking / CORRECTED.sub(".corrected", file.name)))
    waiting = [file for file in sorted(taking.iterdir()) if file.suffix.lower() in KINDS and not _is_ours(file)]
    return [report for file in waiting if (report := _take(front, folder, file))]


def _take(front: Front, folder: Path, file: Path) -> FileReport | None:
    try:
        kind = kind_of(file)
        report = take_file(
            front.house,
            front.audits,
            front.receipts,
            file,
            kind=kind,
            by=MEMBER_SYSTEM,
            write=front.write_here,
        )
    except CannotImport as error:
        failed = _free(folder / "failed" / file.name)
        failed.with_name(f"{failed.name}.txt").write_text("\n".join(map(error.said, LANGUAGES)), encoding="utf-8")
        _tell(front, "member_file_failed", file, {})
        file.rename(failed)
        log.error("members.file_failed", code=error.code)
        return None
    if report.rejected:
        _tell(front, "member_rows_rejected", file, {"rejected": str(report.rejected), "total": str(report.total)})
    if report.rejected_file:
        report.rejected_file = report.rejected_file.rename(_free(folder / "done" / report.rejected_file.name))
    file.rename(_free(folder / "done" / file.name))
    counts = {"rows": report.total, "new": report.opened, "changed": report.changed, "rejected": report.rejected}
    log.info("members.file_taken", kind=kind, **counts)
    return report


def _tell(front: Front, what: str, file: Path, counts: dict[str, str]) -> None:
    house = front.house
    front.write_here(partial(tell_administrators, house.people, house.keys, what, [file.read_bytes()], counts))


def _is_ours(file: Path) -> bool:
    """Whether it holds the rejected rows of a file that was broken off."""
    return ".rejected" in file.name


def _free(path: Path) -> Path:
    """The path, or one beside it where nothing is yet."""
    nth, free = 1, path
    while free.exists():
        nth += 1
        free = path.with_name(f"{path.stem}-{nth}{path.suffix}")
    return free

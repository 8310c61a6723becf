"""Attachments: the pictures, papers and short films of a case, and who may add, see and remove them.

The bytes lie sealed in the data directory's `attachments`, a file each; the ledger has a row of each, written once the
file is on the disk.
"""

import asyncio
import errno
import json
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from cryptography.exceptions import InvalidTag
from pydantic import BaseModel, TypeAdapter, ValidationError
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col, select

from activities.cases import locked
from activities.database import Database
from activities.keys import COLUMN, KeyRing, UnknownKey
from models.forms import FieldError, Text
from models.people import Person, Role
from models.tables import AttachmentRow, CaseRow, EventRow
from starter.attachments import cleaning, mp4
from starter.attachments.uploads import PICTURES, Arrival
from starter.attachments.vault import Damaged, SealedFile, Vault
from starter.refusals import Busy, Conflict, Forbidden, Full, Invalid, NotFound
from starter.reopening import is_open

A_CASE = 10
"""Files at a time, for each time it is handled; more is a parcel, not evidence."""
REGRET = timedelta(hours=1)
"""So long who added a file may take it back."""
CLEANERS = 2
"""Files looked into at a time: a picture of 50 megapixels takes half a gigabyte for a moment."""
MAY_ADD = frozenset({Role.STORE, Role.SPECIALIST, Role.MANAGER})
PREVIEW = "-preview"

log = structlog.get_logger()


class AttachmentView(BaseModel):
    """An attachment; of one that was removed, who did it, when and why."""

    id: str
    case: str
    kind: str
    size: int
    width: int | None
    height: int | None
    seconds: int | None
    name: str | None
    caption: str | None
    by: str
    role: str
    at: datetime
    removed_at: datetime | None
    removed_by: str | None
    removed_because: str | None


@dataclass
class Fit:
    """A file cleaned and on the disk under its id: what its row will say."""

    arrival: Arrival
    id: str = field(default_factory=lambda: secrets.token_hex(13))
    size: int = 0
    width: int | None = None
    height: int | None = None
    seconds: int | None = None


@dataclass(frozen=True)
class Swept:
    """What a sweep found: files that nothing refers to, and are gone; attachments whose file is not there."""

    forgotten: int
    missing: list[str]


class Attachments:
    """The files of all cases. `clock` gives the instant (UTC) that counts; instants come out in `zone`."""

    def __init__(
        self, database: Database, keys: KeyRing, directory: Path, clock: Callable[[], datetime], zone: ZoneInfo
    ) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock
        self._zone = zone
        self._cleaners = asyncio.Semaphore(CLEANERS)
        self.vault = Vault(directory, keys)

    # For the doors

    def admit(self, case: str, by: Person) -> None:
        """Before a byte is taken. NotFound, Forbidden, or Conflict where the case takes no files."""
        if by.role not in MAY_ADD:
            raise Forbidden("may_not_attach", role=by.role)
        with self._database.reading() as session:
            _check_open(session, _of_others(session, case, by))

    async def add(
        self, case: str, by: Person, files: list[Arrival], caption: str | None = None, key: str | None = None
    ) -> tuple[list[AttachmentView], bool]:
        """Keep what has arrived, all of it or nothing; and whether any of it is new: the same file again is the one there."""
        said = _caption(caption)
        fresh: list[Fit] = []
        try:
            with full_disk():
                for arrival in await asyncio.to_thread(self._unknown, case, by, files, key):
                    fit = Fit(arrival)
                    fresh.append(fit)
                    async with self._cleaners:
                        await asyncio.to_thread(self._make_fit, fit)
        except BaseException:
            self.drop(fit.id for fit in fresh)
            raise
        return await asyncio.to_thread(self._commit_or_drop, case, by, files, fresh, said, key)

    def of(self, case: str, by: Person) -> list[AttachmentView]:
        """All of a case, those removed too."""
        with self._database.reading() as session:
            _case(session, case, by)
            _check_may_read(by)
            return [self._view(row) for row in _of(session, case)]

    def look(self, case: str, id: str, by: Person) -> tuple[AttachmentView, SealedFile]:
        """An attachment and its content, to be closed."""
        return self._look(case, id, by, id)

    def preview(self, case: str, id: str, by: Person) -> tuple[AttachmentView, SealedFile]:
        """The same, small; NotFound of what is no picture."""
        return self._look(case, id, by, id + PREVIEW)

    def remove(self, case: str, id: str, by: Person, reason: str) -> AttachmentView:
        """Take an attachment away for good. Its row says who, when and why; name, caption and bytes are gone."""
        with self._database.writing() as session:
            known = locked(session, _of_others(session, case, by).id)
            row = _here(session, case, id)
            now = self._clock()
            if row.removed_at:
                raise Conflict("attachment_removed", attachment=id)
            if by.role is not Role.MANAGER and (row.by != by.id or now - row.at > REGRET):
                raise Forbidden("may_not_detach")
            row.removed_at, row.removed_by, row.digest = now, by.id, ""
            row.sealed = self._sealed(row.id, {"because": reason})
            known.keys = self._keys.noted(known.keys)
            session.add(_event(row, "detached", by, now))
        self.drop([id])
        log.info("attachment.removed", case=case, attachment=id, by=by.id)
        return self._view(row)

    # For those who look after the desk

    def erase_in(self, session: Session, case: str, now: datetime) -> list[str]:
        """All that a case's rows hold is gone, names and captions too; they stay as bare traces. The files to `drop`
        once the transaction, which has locked the case, is committed."""
        rows = _of(session, case)
        for row in rows:
            row.removed_at, row.digest = row.removed_at or now, ""
            row.sealed = self._sealed(row.id, {})
        return [row.id for row in rows]

    def drop(self, ids: Iterable[str]) -> None:
        """Remove the files of attachments whose rows hold nothing any more."""
        for name in ids:
            self.vault.remove(name, name + PREVIEW)

    def sweep(self) -> Swept:
        """Remove files that no row refers to, as a crash leaves them; name the rows whose file is not there."""
        try:
            return self._sweep()
        except (OperationalError, OSError) as error:  # a busy ledger, a disk in trouble: the next start sweeps again
            log.warning("attachments.not_swept", reason=type(error).__name__)
            return Swept(0, [])

    def _sweep(self) -> Swept:
        forgotten = sum(self._forgotten(name, path) for name, path in self.vault.old())
        with self._database.reading() as session:
            kept = session.exec(select(AttachmentRow.id).where(col(AttachmentRow.removed_at).is_(None))).all()
        missing = [kept_id for kept_id in kept if not self.vault.has(kept_id)]
        if forgotten or missing:
            log.warning("attachments.swept", forgotten=forgotten, missing=len(missing), such_as=missing[:3])
        return Swept(forgotten, missing)

    def turn_over_files(self, case: str) -> int:
        """Seal a case's files with the writing key, while everybody reads on: before `turn_over`. How many."""
        with self._database.reading() as session:
            kept = [row.id for row in _of(session, case) if row.removed_at is None]
        turned = 0
        for name in (name for row_id in kept for name in (row_id, row_id + PREVIEW)):
            try:
                turned += self.vault.turn_over(name)
            except FileNotFoundError:
                continue
            except (InvalidTag, UnknownKey, Damaged) as error:
                log.error("reseal.unreadable", case=case, column=f"file/{name}", reason=type(error).__name__)
        return turned

    def turn_over(self, session: Session, case: str) -> bool:
        """Seal a case's rows with the writing key, in the transaction that has locked the case. Whether nothing needs another."""
        whole = True
        for row in _of(session, case):
            try:
                if not self._keys.has_written(row.sealed):
                    known = self._known(row)
                    row.sealed = self._sealed(row.id, known)
                    row.digest = row.digest and self._keys.digest(_print(case, known["hash"]))
            except (InvalidTag, UnknownKey) as error:
                log.error("reseal.unreadable", case=case, column=f"attachment/{row.id}", reason=type(error).__name__)
                whole = False
            if row.removed_at is None:
                whole &= self._is_turned(row.id) and self._is_turned(row.id + PREVIEW)
        return whole

    # Parts

    def _unknown(self, case: str, by: Person, files: list[Arrival], key: str | None) -> list[Arrival]:
        """Which of these the case does not have, each once. Conflict for what could not be kept anyway."""
        with self._database.reading() as session:
            found = _of_others(session, case, by)
            _check_open(session, found)
            rows = _of(session, case)
            self._check_key(rows, by, files, key)
            fresh = {file.hash: file for file in files if not self._same(rows, file)}
            _check_room(found, rows, len(fresh))
        return list(fresh.values())

    def _make_fit(self, fit: Fit) -> None:
        """Clean a file and write it, whole and durable, with its preview."""
        file, kind = fit.arrival.file, fit.arrival.kind.name
        try:
            if kind == "mp4":
                film = mp4.cleaned(file)
                fit.width, fit.height, fit.seconds = film.width, film.height, film.seconds
                fit.size = self.vault.keep(fit.id, film.pieces())
                return
            cleaned = cleaning.clean(file.whole(), kind)
        except (cleaning.CannotClean, mp4.Unfit) as error:
            values = {"limit": str(cleaning.PIXELS // 1_000_000), "seconds": str(mp4.SECONDS)}
            raise fit.arrival.refused(str(error), **values) from None
        fit.width, fit.height = cleaned.width, cleaned.height
        if cleaned.preview:
            self.vault.keep(fit.id + PREVIEW, [cleaned.preview])
        fit.size = self.vault.keep(fit.id, [cleaned.body])

    def _commit_or_drop(
        self, case: str, by: Person, files: list[Arrival], fresh: list[Fit], caption: str | None, key: str | None
    ) -> tuple[list[AttachmentView], bool]:
        """The ledger's word is final also for who no longer waits for it: files go only once it is known that no row came."""
        used: set[str] = set()
        try:
            rows, used = self._commit(case, by, files, fresh, caption, key)
        finally:
            self.drop(fit.id for fit in fresh if fit.id not in used)
        return [self._view(row) for row in rows], bool(used)

    def _commit(
        self, case: str, by: Person, files: list[Arrival], fresh: list[Fit], caption: str | None, key: str | None
    ) -> tuple[list[AttachmentRow], set[str]]:
        """The rows of what was sent, and which of the new files they are of: somebody may have been faster."""
        with self._database.writing() as session:
            found = locked(session, case)
            _check_open(session, found)
            rows = _of(session, case)
            self._check_key(rows, by, files, key)
            now, made = self._clock(), {fit.arrival.hash: fit for fit in fresh}
            taken: dict[str, AttachmentRow] = {}
            for file in files:
                row = self._same([*rows, *taken.values()], file)
                if row is None:
                    if file.hash not in made:  # it was there, and has been removed meanwhile
                        raise Busy("busy")
                    self._hold(made[file.hash].id)
                    row = self._row(found, made[file.hash], by, caption, key, now)
                    session.add(row)
                    session.add(_event(row, "attached", by, now))
                taken[row.id] = row
            used = {fit.id for fit in fresh} & taken.keys()
            _check_room(found, rows, len(used))
            if used:
                found.keys = self._keys.noted(found.keys)
        return list(taken.values()), used

    def _row(
        self, case: CaseRow, fit: Fit, by: Person, caption: str | None, key: str | None, now: datetime
    ) -> AttachmentRow:
        known = {"name": fit.arrival.name, "caption": caption, "hash": fit.arrival.hash}
        return AttachmentRow(
            id=fit.id,
            case_id=case.id,
            key=key,
            kind=fit.arrival.kind.kept,
            size=fit.size,
            width=fit.width,
            height=fit.height,
            seconds=fit.seconds,
            digest=self._keys.digest(_print(case.id, fit.arrival.hash)),
            sealed=self._sealed(fit.id, known),
            by=by.id,
            role=by.role,
            at=now,
        )

    def _check_key(self, rows: list[AttachmentRow], by: Person, files: list[Arrival], key: str | None) -> None:
        """A key repeated must come with what it came with."""
        earlier = [row for row in rows if key and row.key == key]
        if any(row.removed_at for row in earlier):
            raise Conflict("attachment_removed", attachment=next(row.id for row in earlier if row.removed_at))
        for row in earlier:
            if row.by != by.id or not any(self._is(row, file) for file in files):
                raise Conflict("key_reused", key=str(key))
        if earlier and any(self._same(rows, file) is None for file in files):
            raise Conflict("key_reused", key=str(key))

    def _same(self, rows: list[AttachmentRow], file: Arrival) -> AttachmentRow | None:
        return next((row for row in rows if self._is(row, file)), None)

    def _is(self, row: AttachmentRow, file: Arrival) -> bool:
        return row.removed_at is None and self._keys.matches(row.digest, _print(row.case_id, file.hash))

    def _hold(self, id: str) -> None:
        try:
            self.vault.hold(id)
        except FileNotFoundError:  # so old that a sweep took it for forgotten: the sender tries again
            raise Busy("busy") from None

    def _look(self, case: str, id: str, by: Person, name: str) -> tuple[AttachmentView, SealedFile]:
        with self._database.reading() as session:
            _case(session, case, by)
            _check_may_read(by)
            row = _here(session, case, id)
            view = self._view(row)
        if row.removed_at:
            raise NotFound("attachment_removed", attachment=id)
        if name != id and row.kind not in PICTURES:
            raise NotFound("no_preview", attachment=id)
        try:
            return view, self.vault.open(name)
        except FileNotFoundError:
            log.error("attachment.lost", case=case, attachment=id)
            raise NotFound("attachment_lost", attachment=id) from None

    def _view(self, row: AttachmentRow) -> AttachmentView:
        known = self._known(row)
        shown = row.model_dump(exclude={"case_id", "key", "digest", "sealed", "at", "removed_at"})
        return AttachmentView(
            **shown,
            case=row.case_id,
            name=known.get("name"),
            caption=known.get("caption"),
            at=row.at.astimezone(self._zone),
            removed_at=row.removed_at and row.removed_at.astimezone(self._zone),
            removed_because=known.get("because"),
        )

    def _known(self, row: AttachmentRow) -> dict[str, Any]:
        known: dict[str, Any] = json.loads(self._keys.open(row.sealed, COLUMN, f"attachment/{row.id}"))
        return known

    def _sealed(self, id: str, known: dict[str, Any]) -> bytes:
        return self._keys.seal(json.dumps(known, ensure_ascii=False).encode(), COLUMN, f"attachment/{id}")

    def _is_turned(self, name: str) -> bool:
        """Whether a file needs the writing key only; one that is not there needs none."""
        try:
            with self.vault.open(name) as file:
                return file.key == self._keys.writing
        except FileNotFoundError:
            return True
        except Damaged:
            return False

    def _forgotten(self, name: str, path: Path) -> bool:
        """Remove a file nothing refers to: within a writing transaction, so that no row of it is being committed."""
        of = name.partition(".")[0].removesuffix(PREVIEW)
        with self._database.writing() as session:
            row = session.get(AttachmentRow, of)
            if row and row.removed_at is None and name in (of, of + PREVIEW):
                return False
            path.unlink(missing_ok=True)
            return True


def _case(session: Session, id: str, by: Person) -> CaseRow:
    case = session.get(CaseRow, id)
    if case is None or not by.may_see(case.store, case.region):
        raise NotFound("no_such_case", case=id)
    return case


def _of_others(session: Session, id: str, by: Person) -> CaseRow:
    """A case that is not about him: what proves it, or does not, he neither adds nor removes (5.2 E34)."""
    case = _case(session, id, by)
    if case.about == by.id:
        raise Forbidden("attachments_about_yourself")
    return case


def _check_open(session: Session, case: CaseRow) -> None:
    if not is_open(session, case):
        raise Conflict("case_closed")


def _check_room(case: CaseRow, rows: list[AttachmentRow], more: int) -> None:
    limit = A_CASE * case.cycle
    if more and sum(row.removed_at is None for row in rows) + more > limit:
        raise Conflict("too_many_attachments", limit=str(limit))


def _check_may_read(by: Person) -> None:
    if by.role is Role.ADMINISTRATOR:
        raise Forbidden("may_not_read")


def _of(session: Session, case: str) -> list[AttachmentRow]:
    query = select(AttachmentRow).where(AttachmentRow.case_id == case)
    return list(session.exec(query.order_by(col(AttachmentRow.at), col(AttachmentRow.id))))


def _here(session: Session, case: str, id: str) -> AttachmentRow:
    row = session.get(AttachmentRow, id)
    if row is None or row.case_id != case:
        raise NotFound("no_such_attachment", attachment=id)
    return row


def _event(row: AttachmentRow, kind: str, by: Person, at: datetime) -> EventRow:
    about = {"attachment": row.id, "kind": row.kind}
    return EventRow(case_id=row.case_id, key=f"{kind}/{row.id}", kind=kind, at=at, by=by.id, role=by.role, data=about)


def _print(case: str, hash: str) -> bytes:
    """What the digest is of: the same file in two cases is not seen to be the same."""
    return f"attachment/{case}/{hash}".encode()


def _caption(given: str | None) -> str | None:
    if given is None or not given.strip():
        return None
    try:
        return TypeAdapter(Text).validate_python(given)
    except ValidationError as error:
        found = error.errors()[0]
        values = {name: str(value) for name, value in found.get("ctx", {}).items()}
        raise Invalid([FieldError(field="caption", code=found["type"], values=values)]) from None


@contextmanager
def full_disk() -> Iterator[None]:
    """A full disk said as a refusal."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Full("full") from error
        raise

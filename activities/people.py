"""Who is who: the organisation as the ledger has it, or the file it begins with."""

import secrets
import tomllib
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic

from pydantic import ValidationError
from sqlalchemy.exc import DatabaseError
from sqlmodel import Session, col, func, select

from activities.database import Database
from activities.keys import COLUMN, KeyRing
from models.organisation import Directory, Wanted
from models.people import Person, Role, Store
from models.tables import OrganisationRow

SAMPLE = Path(__file__).with_name("directory.toml")
FRESH = 1.0
"""Seconds after which a process looks whether the organisation has changed."""


class BadDirectory(ValueError):
    """The directory file cannot be used; nothing of it is."""


class Organisation:
    """The people and stores as they are now: the latest version of the ledger, within a second; before the first, the file's."""

    def __init__(self, database: Database, keys: Callable[[], KeyRing], file: Path) -> None:
        self._database = database
        self._keys = keys
        self._file = file
        self._version: int | None = None
        self._directory: Directory | None = None
        self._looked_at = float("-inf")

    @property
    def now(self) -> Directory:
        """One version, whole. BadDirectory where there is none yet and the file does not hold together."""
        if self._directory is None or monotonic() - self._looked_at > FRESH:
            self.refresh()
        assert self._directory is not None
        return self._directory

    def refresh(self) -> None:
        """Look now."""
        try:
            with self._database.reading() as session:
                version = session.exec(select(func.max(OrganisationRow.version))).one()
                if version is not None and version != self._version:
                    self._directory, self._version = self.version(session, version), version
        except DatabaseError:  # there is no ledger yet, or one of an earlier release; who needs it says so
            version = self._version
        if version is None and self._directory is None:
            self._directory = read_directory(self._file)
        self._looked_at = monotonic()

    def version(self, session: Session, version: int) -> Directory:
        """One version of the ledger's."""
        row = session.exec(select(OrganisationRow).where(col(OrganisationRow.version) == version)).one()
        return Directory.model_validate_json(
            self._keys().open(row.sealed, COLUMN, f"organisation/{row.at.isoformat()}")
        )

    # As a Who

    @property
    def people(self) -> tuple[Person, ...]:
        return self.now.people

    @property
    def stores(self) -> tuple[Store, ...]:
        return self.now.stores

    def person(self, id: str) -> Person | None:
        return self.now.person(id)

    def name(self, id: str) -> str:
        return self.now.name(id)

    def called(self, id: str) -> str:
        return self.now.called(id)

    def region_name(self, region: str | None) -> str | None:
        return self.now.region_name(region)

    def store(self, code: str | None) -> Store | None:
        return self.now.store(code)

    def region(self, store: str | None) -> str | None:
        return self.now.region(store)

    def resolve(self, role: Role, wanted: Wanted) -> str:
        return self.now.resolve(role, wanted)

    def next_in_line(self, person: str, told: Collection[str], wanted: Wanted) -> str | None:
        return self.now.next_in_line(person, told, wanted)

    def answers_by(self, person: str, since: datetime, span: timedelta) -> datetime:
        return self.now.answers_by(person, since, span)


def read_directory(path: Path) -> Directory:
    """Read the directory; a missing file is first made from the sample. BadDirectory names the place and the reason."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        part.write_text(SAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
        part.replace(path)  # whole or not there: others may be reading already
    try:
        return Directory.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadDirectory(f"{path}: {error}") from error
    except ValidationError as error:
        places = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'directory'}: {e['msg']}" for e in error.errors())
        raise BadDirectory(f"{path}: {places}") from error

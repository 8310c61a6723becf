"""The ledger's schema: brought up to date by one process, refused by every other when it is not the one they know."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from activities.database import Database

MIGRATIONS = Path(__file__).with_name("migrations")


class UnknownSchema(RuntimeError):
    """The ledger was written by another release."""


def config(connection: Connection | None = None) -> Config:
    """What Alembic needs: where the migrations are, and the transaction they run in."""
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS))
    made.attributes["connection"] = connection
    return made


def head() -> str | None:
    return ScriptDirectory.from_config(config()).get_current_head()


def current(database: Database) -> str | None:
    with database.reader.connect() as connection:
        return _revision(connection)


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def check(database: Database) -> None:
    """Refuse a ledger whose schema this release does not know."""
    found, known = current(database), head()
    if found != known:
        raise UnknownSchema(
            f"the ledger's schema is {found or 'empty'}, this release knows {known}: "
            "run `kefu migrate` (it backs a SQLite file up first), or start the release the ledger belongs to"
        )


def upgrade(database: Database) -> Path | None:
    """Bring the schema to this release's, after a backup of a SQLite ledger that holds anything. Returns the backup's path.

    All or nothing, and safe in several processes at once: the first one does it, the others find it done.
    """
    if current(database) == head():
        return None
    with database.migrating() as connection:
        found = _revision(connection)
        backup = _backup(database, found) if database.is_sqlite and found not in (None, head()) else None
        command.upgrade(config(connection), "head")
    return backup


def _backup(database: Database, revision: str) -> Path:
    source = Path(str(database.url.database))
    target = source.with_name(f"{source.stem}-{revision}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}{source.suffix}")
    with sqlite3.connect(source) as live, sqlite3.connect(target) as copy:
        live.backup(copy)
    target.chmod(0o600)
    return target

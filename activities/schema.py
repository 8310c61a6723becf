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
    """The ledger was written by another release. Says which way to go."""

    def __init__(self, found: str | None, known: list[str]) -> None:
        if found is None or found in known:
            reason = (
                f"this release knows {known[0]}: run `kefu migrate` "
                "(it backs a SQLite file up first; on PostgreSQL, pg_dump it before), or start the release it belongs to"
            )
        else:
            reason = f"this release knows none later than {known[0]}: a newer release has migrated it, start that one"
        super().__init__(f"the ledger's schema is {found or 'empty'}, {reason}")


def config(connection: Connection | None = None) -> Config:
    """What Alembic needs: where the migrations are, and the transaction they run in."""
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS))
    made.attributes["connection"] = connection
    return made


def head() -> str:
    return known()[0]


def known() -> list[str]:
    """Every revision this release knows, the latest first."""
    return [script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()]


def current(database: Database) -> str | None:
    with database.reader.connect() as connection:
        return _revision(connection)


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def check(database: Database) -> None:
    """Refuse a ledger whose schema this release does not know."""
    if (found := current(database)) != head():
        raise UnknownSchema(found, known())


def upgrade(database: Database) -> Path | None:
    """Bring the schema to this release's, after a backup of a SQLite ledger that holds anything. Returns the backup's path.

    All or nothing, and safe in several processes at once: the first one does it, the others find it done. UnknownSchema
    when a newer release has done it.
    """
    if current(database) == head():
        return None
    with database.migrating() as connection:
        found = _revision(connection)
        if found not in (None, *known()):
            raise UnknownSchema(found, known())
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

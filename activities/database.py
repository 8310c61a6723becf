"""How the ledger's database is opened: short writing transactions, readers that cannot write."""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from time import monotonic, sleep
from typing import ParamSpec, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.engine.interfaces import DBAPIConnection, IsolationLevel
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlmodel import Session

BUSY_MS = 2000
"""How long a transaction waits for another one before the ledger counts as busy."""
HANGING_MS = 10_000
"""How long PostgreSQL leaves a case to a process that has stopped in the middle of a transaction."""
READERS = 8
CONNECTIONS = 5
"""To PostgreSQL, of each kind: a process takes at most ten of the hundred a server gives out."""
TURN = 0.002
"""Seconds between two looks whether it is this process's turn to write."""
MIGRATION_LOCK = 0x6B656675
MIGRATION_MS = 60_000

P = ParamSpec("P")
T = TypeVar("T")


class Database:
    """The ledger's database in this process.

    On SQLite every writing transaction begins IMMEDIATE on one connection behind one lock: whoever is inside has the
    latest state, and instants stamped inside are ordered as the commits are. On PostgreSQL the same holds for one case:
    whoever writes locks its row first, and reads and looks at the clock afterwards.
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._one_at_a_time = threading.Lock()
        self._line: int | None = None
        if self.is_sqlite:
            if self.url.database:
                Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
            self.writer = _sqlite(self.url, "BEGIN IMMEDIATE", "foreign_keys=ON", pool_size=1)
            self.reader = _sqlite(self.url, "BEGIN", "query_only=ON", pool_size=READERS)
        else:
            self.writer = _postgresql(self.url, "READ COMMITTED", lock_ms=BUSY_MS)
            self.reader = _postgresql(self.url, "REPEATABLE READ", lock_ms=BUSY_MS)

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """One transaction, committed on leaving, rolled back on an exception. Keep it short; no I/O inside."""
        if not self.is_sqlite:
            with Session(self.writer, expire_on_commit=False) as session, session.begin():
                yield session
            return
        end = monotonic() + BUSY_MS / 1000
        if not self._one_at_a_time.acquire(timeout=BUSY_MS / 1000):
            raise _busy()
        try:
            with Session(self.writer, expire_on_commit=False) as session, session.begin():
                with self._next_in_line(end):
                    session.connection()  # BEGIN IMMEDIATE
                yield session
        finally:
            self._one_at_a_time.release()

    @contextmanager
    def _next_in_line(self, end: float) -> Iterator[None]:
        """Be the one process that waits for SQLite's lock; until `end`, then the ledger counts as busy.

        SQLite does not queue its writers: who has just committed begins again before those who wait have woken up, and
        in a storm some of them starve. Whoever has written now finds another one in front of him.
        """
        if self._line is None:
            self._line = os.open(f"{self.url.database}-turn", os.O_RDWR | os.O_CREAT, 0o600)
        while True:
            try:
                fcntl.flock(self._line, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if monotonic() > end:
                    raise _busy() from None
                sleep(TURN)
        try:
            yield
        finally:
            fcntl.flock(self._line, fcntl.LOCK_UN)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One consistent view. Keep it short: a long read holds up SQLite's checkpoint."""
        with Session(self.reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """One transaction in which the schema changes, whole or not at all. Several processes do so one after the other."""
        if self.is_sqlite:  # tables are made anew under those that refer to them: no foreign keys meanwhile
            engine = _sqlite(self.url, "BEGIN IMMEDIATE", "foreign_keys=OFF", pool_size=1, busy_ms=MIGRATION_MS)
        else:
            engine = _postgresql(self.url, "READ COMMITTED", lock_ms=MIGRATION_MS)
        try:
            with engine.begin() as connection:
                if not self.is_sqlite:
                    connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
                yield connection
        finally:
            engine.dispose()

    def forget(self) -> None:
        """Leave nothing of what was overwritten in SQLite's log either; where somebody reads meanwhile, the next checkpoint does."""
        if self.is_sqlite and self._one_at_a_time.acquire(timeout=BUSY_MS / 1000):
            try:
                connection = self.writer.raw_connection()
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
                connection.close()
            finally:
                self._one_at_a_time.release()

    def close(self) -> None:
        self.writer.dispose()
        self.reader.dispose()
        if self._line is not None:
            os.close(self._line)
            self._line = None


def once_more(write: Callable[P, T]) -> Callable[P, T]:
    """Let a method that writes begin again when somebody else has just written the row it found missing.

    Two transactions on PostgreSQL may both see that a number, or a submission's id, is not there yet. The unique
    constraint lets one of them pass and fails the other once that one is committed, so a second look finds it. It
    costs nothing where nobody races, and no further lock, which every door would have to take in one order.
    """

    @wraps(write)
    def written(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return write(*args, **kwargs)
        except IntegrityError:
            return write(*args, **kwargs)

    return written


def _busy() -> OperationalError:
    """What SQLite says when it is."""
    return OperationalError("BEGIN IMMEDIATE", None, sqlite3.OperationalError("database is locked"))


def _sqlite(url: URL, begin: str, pragma: str, *, pool_size: int, busy_ms: int = BUSY_MS) -> Engine:
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=0,
        connect_args={"timeout": busy_ms / 1000, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _set_up(connection: DBAPIConnection, _record: object) -> None:
        connection.isolation_level = None  # ours is the only BEGIN
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA secure_delete=ON")  # what is erased is overwritten on the disk
        cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _postgresql(url: URL, isolation: IsolationLevel, *, lock_ms: int) -> Engine:
    """READ COMMITTED to write: what is read once a lock is had must be what the one before has committed.
    REPEATABLE READ to look: several queries, one view. Neither is left to what the server's administrator has set."""
    engine = create_engine(
        url,
        hide_parameters=True,
        isolation_level=isolation,
        execution_options={"postgresql_readonly": isolation == "REPEATABLE READ"},
        pool_pre_ping=True,
        pool_size=CONNECTIONS,
        max_overflow=0,
        connect_args={"connect_timeout": BUSY_MS // 1000, "tcp_user_timeout": HANGING_MS},
    )

    @event.listens_for(engine, "connect")
    def _set_up(connection: DBAPIConnection, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SET lock_timeout = {lock_ms}")
        cursor.execute(f"SET idle_in_transaction_session_timeout = {HANGING_MS}")
        cursor.close()
        connection.commit()

    return engine

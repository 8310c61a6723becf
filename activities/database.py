"""How the ledger's database is opened: one short writing transaction at a time, readers that cannot write."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlmodel import Session

BUSY_MS = 2000
READERS = 8


class Database:
    """The ledger's database in this process.

    On SQLite every writing transaction begins IMMEDIATE on one connection behind one lock: whoever is inside has the
    latest state, and instants stamped inside are ordered as the commits are. On PostgreSQL the rows that matter are locked.
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            if self.url.database:
                Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
            self.writer = _sqlite(self.url.render_as_string(False), "BEGIN IMMEDIATE", pool_size=1, query_only=False)
            self.reader = _sqlite(self.url.render_as_string(False), "BEGIN", pool_size=READERS, query_only=True)
        else:
            self.writer = self.reader = create_engine(self.url, pool_pre_ping=True)
        self._one_at_a_time = threading.Lock() if self.is_sqlite else None

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """One transaction, committed on leaving, rolled back on an exception. Keep it short; no I/O inside."""
        if self._one_at_a_time is None:
            with Session(self.writer, expire_on_commit=False) as session, session.begin():
                yield session
        else:
            with self._one_at_a_time, Session(self.writer, expire_on_commit=False) as session, session.begin():
                yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One consistent view. Keep it short: a long read holds up SQLite's checkpoint."""
        with Session(self.reader, expire_on_commit=False) as session:
            yield session

    def close(self) -> None:
        self.writer.dispose()
        self.reader.dispose()


def _sqlite(url: str, begin: str, *, pool_size: int, query_only: bool) -> Engine:
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        connect_args={"timeout": BUSY_MS / 1000, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _set_up(connection: DBAPIConnection, _record: object) -> None:
        connection.isolation_level = None  # ours is the only BEGIN
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        if query_only:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine

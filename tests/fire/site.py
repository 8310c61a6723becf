"""A house seen from outside: started, killed part by part, held shut, read; over HTTP, process ids and plain SQL only.

On Linux: whose child a process is, is read from /proc.
"""

import asyncio
import fcntl
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

from httpx2 import AsyncClient, Limits

from settings import Settings
from starter.machine.server import BINARY_VARIABLE
from starter.machine.supervisor import LEASH
from tests.conftest import free_ports
from tests.fire.doomed import of, write
from tests.fire.house import DOOMS, GATES, READY, the_parts

ROOT = Path(__file__).parents[2]
UNDECIDED = "select count(*) from submissions where state = 'pending'"
UNFIRED = """
    select count(*) from deadlines d join tasks t on t.case_id = d.case_id and t.key = d.task
    where t.state = 'open' and t.generation = d.generation and d.fired_at is null and d.planned_at < ?
"""


async def until(check: Callable[[], bool], within: float, every: float = 0.1) -> bool:
    """Whether a condition, looked at outside the event loop, came true in time."""
    end = monotonic() + within
    while not await asyncio.to_thread(check):
        if monotonic() > end:
            return False
        await asyncio.sleep(every)
    return True


@dataclass
class Site:
    """One house on a fresh data directory and free ports."""

    base: Path
    policy: Path
    port: int = field(default_factory=lambda: free_ports(3))
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.base / "var"

    @property
    def ledger(self) -> Path:
        return self.data / "ledger.db"

    @property
    def log(self) -> Path:
        return self.base / "house.log"

    @property
    def settings(self) -> Settings:
        return Settings(data=self.data, port=self.port, policy=self.policy)

    @property
    def parts(self) -> list[str]:
        return [part.name for part in the_parts(self.settings)]

    @property
    def env(self) -> dict[str, str]:
        ours = {"KEFU_DATA": self.data, "KEFU_PORT": self.port, "KEFU_POLICY": self.policy, "PYTHONPATH": ROOT}
        told = {name for name in os.environ if name.startswith(("KEFU_", "TEMPORAL_"))} - {BINARY_VARIABLE}
        clean = {name: value for name, value in os.environ.items() if name not in told}
        return clean | {name: str(value) for name, value in ours.items()}

    async def __aenter__(self) -> "Site":
        self.base.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            leashed = [sys.executable, "-I", "-S", "-c", LEASH, str(os.getpid())]  # it ends with us
            house = [*leashed, sys.executable, "-m", "tests.fire.house"]
            self.process = subprocess.Popen(  # noqa: ASYNC220 — the leash ends it with the thread that started it
                house, env=self.env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        assert await until(self._is_ready, within=90), f"the house does not get ready: {self.log.read_text()[-2000:]}"
        return self

    def _is_ready(self) -> bool:
        assert self.process
        if self.process.poll() is not None:
            raise RuntimeError(f"the house ended: {self.log.read_text()[-2000:]}")
        return any(line["event"] == READY for line in self.said())

    async def __aexit__(self, *_: object) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        if self.process:
            await asyncio.to_thread(self.process.wait, 60)

    @property
    def stands(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def door(self) -> AsyncClient:
        return AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}",
            timeout=15,
            limits=Limits(max_connections=200, max_keepalive_connections=50),
        )

    # Killing

    def pid(self, part: str) -> int | None:
        """The part's process while it is a child of our house: a number alone may long belong to somebody else."""
        assert self.process
        try:
            pid = int((self.data / f"{part}.pid").read_text())
            parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        return pid if int(parent) == self.process.pid else None

    async def kill(self, part: str) -> None:
        """-9, as soon as there is somebody to kill."""
        os.kill(await self._alive(part), signal.SIGKILL)

    async def doom(self, part: str, after: str, count: int) -> None:
        """Let the part kill itself after its COUNTth commit that holds a certain thing."""
        await self._alive(part)
        write(of(self.data / DOOMS / part, after), count)

    async def struck(self, part: str, after: str, within: float) -> bool:
        """Whether it did, in so many seconds. Where it did not, it will not any more."""
        doom = of(self.data / DOOMS / part, after)
        await until(lambda: not doom.exists(), within, every=0.02)
        try:
            doom.unlink()
        except FileNotFoundError:
            return True
        return False

    async def _alive(self, part: str) -> int:
        assert await until(lambda: self.pid(part) is not None, within=60), f"{part} does not come back"
        return self.pid(part) or await self._alive(part)

    @contextmanager
    def shut(self, *parts: str) -> Iterator[None]:
        """Nobody of these parts gets in until we leave; who is inside stays."""
        with ExitStack() as gates:
            for part in parts:
                gate = gates.enter_context((self.data / GATES / part).open("rb"))
                fcntl.flock(gate, fcntl.LOCK_EX)
            yield

    # Reading

    def said(self) -> list[dict[str, Any]]:
        """The house's log, and its parts': lines of JSON, among which others may stand."""
        with self.log.open(errors="replace") as file:
            return [json.loads(line) for line in file if line.startswith("{") and line.endswith("}\n")]

    @property
    def deaths(self) -> list[str]:
        """The parts that died, as their supervisor saw it."""
        return [line["part"] for line in self.said() if line["event"] == "part.died"]

    def ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True, timeout=5)) as connection:
            return connection.execute(query, values).fetchall()

    async def drained(self, within: float, ahead: timedelta = timedelta(0)) -> bool:
        """Wait until every submission is decided and every rung planned so far, or so far ahead, has fired."""

        def is_drained() -> bool:
            by = as_stored(datetime.now(UTC) + ahead)
            return not any(rows[0][0] for rows in (self.ask(UNDECIDED), self.ask(UNFIRED, by)))

        return await until(is_drained, within)

    def copy_ledger(self, target: Path) -> Path:
        with closing(sqlite3.connect(self.ledger)) as live, closing(sqlite3.connect(target)) as copy:
            live.backup(copy)
        return target

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command of ours in this house."""
        return subprocess.run(
            [sys.executable, "-m", *command], env=self.env, cwd=ROOT, capture_output=True, text=True, check=False
        )

    def remove(self) -> None:
        shutil.rmtree(self.base, ignore_errors=True)


def as_stored(instant: datetime) -> str:
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")

"""A supervisor of child processes: starts them in order, keeps them alive, stops them in the opposite order."""

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import structlog

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
"""Seconds before a part that died is started again: doubling from the first to the longest."""
MOST_DEATHS, WITHIN = 5, 60.0
"""So many deaths of one part within so many seconds, and the supervisor gives up."""
PATIENCE = 60.0
"""Seconds a part may take to get ready the first time."""
GRACE = 10.0
"""Seconds a part may take to stop before it is killed."""
PROBE_EVERY, PROBE_WITHIN = 0.1, 5.0
LOG_LIMIT = 1_000_000
LAST_WORDS = 15

LEASH = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(ctypes.c_ulong(1), ctypes.c_ulong(9))\n"
    "os.getppid() == int(sys.argv[1]) or os._exit(1)\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)
"""Ask the kernel for SIGKILL when the parent dies (PR_SET_PDEATHSIG), see that it has not died already, become the program.

A program of its own and not a `preexec_fn`: no Python may run between fork and exec in a process with threads."""

log = structlog.get_logger()


class Trouble(Exception):
    """Why `kefu up` does not start or goes on no longer: a code of the catalogue and the values of its sentence."""

    def __init__(self, code: str, /, **values: object) -> None:
        super().__init__(code)
        self.code = code
        self.values = values


class Told(Exception):
    """Somebody asked the supervisor to stop."""


async def at_once(_pid: int) -> bool:
    return True


@dataclass(frozen=True)
class Part:
    """One child process: what to run, and how to see that the process with this id does its work."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    ready: Callable[[int], Awaitable[bool]] = at_once
    needs: tuple[str, ...] = ()
    """Parts it cannot even start without; it waits for them also when it is started again."""
    log: Path | None = None
    """Where it writes; to our standard error when None."""


class Supervisor:
    """Starts parts in order, starts again what dies, stops them in the opposite order.

    Must run in the main thread: a part dies with the thread that started it. Each part's process id is kept in
    `pids`/name.pid while it runs.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        pids: Path,
        *,
        first_pause: float = FIRST_PAUSE,
        patience: float = PATIENCE,
        grace: float = GRACE,
    ) -> None:
        self._parts = tuple(parts)
        self._pids = pids
        self._first_pause = first_pause
        self._patience = patience
        self._grace = grace
        self._told = asyncio.Event()
        self._up = {part.name: asyncio.Event() for part in parts}
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._log_from: dict[str, int] = {}

    def stop(self) -> None:
        """Ask for the end, as a signal does. Asked twice, nobody gets time to finish."""
        if self._told.is_set():
            for process in self._processes.values():
                _send(process, signal.SIGKILL)
        self._told.set()

    async def run(self, when_ready: Callable[[], Awaitable[None]]) -> None:
        """Keep the parts running until told to stop; all are gone on return. Trouble when one cannot be kept."""
        loop = asyncio.get_running_loop()
        signals = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup means what it says
            signals.append(signal.SIGHUP)
        for signum in signals:
            loop.add_signal_handler(signum, self.stop)
        keepers = (self._keep(part, self._parts[:place]) for place, part in enumerate(self._parts))
        tasks = [asyncio.create_task(work) for work in (self._wait(), self._when_all_are_up(when_ready), *keepers)]
        try:
            await asyncio.gather(*tasks)
        except Told:
            log.info("up.stopping")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._end_all()
            for signum in signals:
                loop.remove_signal_handler(signum)

    async def _wait(self) -> None:
        await self._told.wait()
        raise Told

    async def _when_all_are_up(self, when_ready: Callable[[], Awaitable[None]]) -> None:
        for up in self._up.values():
            await up.wait()
        await when_ready()

    async def _keep(self, part: Part, earlier: Sequence[Part]) -> None:
        """Run a part for ever: at first after the ones before it, then again after each death, later each time."""
        for before in earlier:
            await self._up[before.name].wait()
        process = await self._spawn(part)
        await self._see_ready(part, process, monotonic() + self._patience)
        if process.returncode is not None and not self._up[part.name].is_set():
            raise Trouble("died_at_start", part=part.name, status=process.returncode, said=self._last_words(part))
        deaths: deque[float] = deque(maxlen=MOST_DEATHS)
        while True:
            code = await process.wait()
            self._up[part.name].clear()
            deaths.append(monotonic())
            recent = sum(deaths[-1] - death < WITHIN for death in deaths)
            if recent == MOST_DEATHS:
                raise Trouble("keeps_dying", part=part.name, times=recent, status=code, said=self._last_words(part))
            pause = min(self._first_pause * 2 ** (recent - 1), LONGEST_PAUSE)
            log.warning("part.died", part=part.name, code=code, again_in=pause)
            await asyncio.sleep(pause)
            for needed in part.needs:
                await self._up[needed].wait()
            process = await self._spawn(part)
            await self._see_ready(part, process)

    async def _spawn(self, part: Part) -> asyncio.subprocess.Process:
        """Start a part in a session of its own: the terminal's Ctrl-C is for the supervisor, which keeps the order."""
        with self._output(part) as output:
            process = await asyncio.create_subprocess_exec(
                *_leashed(part.argv),
                env=dict(part.env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._processes[part.name] = process
        self._pid_file(part).write_text(f"{process.pid}\n")
        log.info("part.started", part=part.name, pid=process.pid)
        return process

    @contextmanager
    def _output(self, part: Part) -> Iterator[int]:
        if part.log is None:
            yield sys.__stderr__.fileno() if sys.__stderr__ else asyncio.subprocess.DEVNULL
            return
        if part.log.exists() and part.log.stat().st_size > LOG_LIMIT:
            part.log.replace(part.log.with_name(f"{part.log.name}.1"))
        with part.log.open("ab") as file:
            self._log_from[part.name] = file.tell()
            yield file.fileno()

    async def _see_ready(self, part: Part, process: asyncio.subprocess.Process, deadline: float = float("inf")) -> None:
        """Return when the part does its work, or is dead."""
        while process.returncode is None:
            with suppress(TimeoutError):
                if await asyncio.wait_for(part.ready(process.pid), PROBE_WITHIN):
                    log.info("part.ready", part=part.name, pid=process.pid)
                    self._up[part.name].set()
                    return
            if monotonic() > deadline:
                seconds = round(self._patience)
                raise Trouble("not_ready", part=part.name, seconds=seconds, said=self._last_words(part))
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), PROBE_EVERY)

    def _last_words(self, part: Part) -> str:
        """The end of what a part with a log of its own has written since it was last started."""
        if part.log is None or not part.log.exists():
            return ""
        with part.log.open("rb") as file:
            file.seek(self._log_from.get(part.name, 0))
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join([str(part.log), *lines[-LAST_WORDS:]])

    async def _end_all(self) -> None:
        for part in reversed(self._parts):
            if process := self._processes.get(part.name):
                await self._end(part, process)
                self._pid_file(part).unlink(missing_ok=True)

    async def _end(self, part: Part, process: asyncio.subprocess.Process) -> None:
        _send(process, signal.SIGTERM)
        try:
            code = await asyncio.wait_for(process.wait(), self._grace)
        except TimeoutError:
            log.warning("part.does_not_stop", part=part.name, killed_after=self._grace)
            _send(process, signal.SIGKILL)
            code = await process.wait()
        log.info("part.stopped", part=part.name, code=code)

    def _pid_file(self, part: Part) -> Path:
        return self._pids / f"{part.name}.pid"


def _leashed(argv: Sequence[str]) -> list[str]:
    """The command, made to die with its parent where the system can do that."""
    if not sys.platform.startswith("linux"):
        return list(argv)
    return [sys.executable, "-I", "-S", "-c", LEASH, str(os.getpid()), *argv]


def _send(process: asyncio.subprocess.Process, signum: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signum)

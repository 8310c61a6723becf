"""Files at rest: sealed piece by piece, whole or not there at all, and on no disk in the clear."""

import base64
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from math import ceil
from pathlib import Path
from tempfile import TemporaryFile
from time import time
from typing import IO, Self

from activities.keys import NONCE, KeyRing

PIECE = 256 * 1024
PURPOSE = "attachment"
TAG = 16
FRAME = 4
"""Before each sealed piece: its length."""
ARRIVING = ".new"
GRACE = 3600.0
"""Seconds. A younger file may be somebody's whose row is about to be committed; no upload takes that long."""


class Damaged(ValueError):
    """A sealed file that is not what was written."""


class Sealing:
    """What is written here is sealed. A piece opens in its own place of its own file only, and the last one says that it is."""

    def __init__(self, file: IO[bytes], keys: KeyRing, name: str) -> None:
        self._file = file
        self._keys = keys
        self._name = name
        self._waiting = bytearray()
        self._sealed = 0
        self.size = 0

    def write(self, data: bytes) -> None:
        self._waiting += data
        self.size += len(data)
        while len(self._waiting) > PIECE:
            self._put(bytes(self._waiting[:PIECE]), last=False)
            del self._waiting[:PIECE]

    def finish(self) -> None:
        self._put(bytes(self._waiting), last=True)
        self._file.flush()

    def _put(self, piece: bytes, *, last: bool) -> None:
        sealed = self._keys.seal(piece, PURPOSE, _place(self._name, self._sealed, last))
        self._file.write(len(sealed).to_bytes(FRAME, "big") + sealed)
        self._sealed += 1


class SealedFile:
    """A sealed file to read: from the beginning, or from anywhere. Damaged or InvalidTag when it is not what was written."""

    def __init__(self, file: IO[bytes], keys: KeyRing, name: str) -> None:
        self._file = file
        self._keys = keys
        self._name = name
        length = os.fstat(file.fileno()).st_size
        self.key = self._key()
        self._around = FRAME + len(self.key) + 1 + NONCE + TAG
        self._pieces = ceil(length / (PIECE + self._around))
        self.size = length - self._pieces * self._around
        self._had: tuple[int, bytes] = (-1, b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def at(self, offset: int, length: int) -> bytes:
        """So many bytes from there; fewer where the file ends."""
        end = min(offset + length, self.size)
        parts = []
        while offset < end:
            n, skip = divmod(offset, PIECE)
            parts.append(self._piece(n)[skip : skip + end - offset])
            offset += len(parts[-1])
        return b"".join(parts)

    def pieces(self) -> Iterator[bytes]:
        return (self._piece(n) for n in range(self._pieces))

    def whole(self) -> bytes:
        return b"".join(self.pieces())

    def _key(self) -> str:
        self._file.seek(FRAME)
        key, colon, _ = self._file.read(128).partition(b":")
        if not colon:
            raise Damaged
        return key.decode(errors="replace")

    def _piece(self, n: int) -> bytes:
        if self._had[0] != n:
            self._file.seek(n * (PIECE + self._around))
            length = int.from_bytes(self._file.read(FRAME), "big")
            if not self._around - FRAME <= length <= PIECE + self._around - FRAME:
                raise Damaged
            place = _place(self._name, n, n == self._pieces - 1)
            self._had = (n, self._keys.open(self._file.read(length), PURPOSE, place))
        return self._had[1]


class Passing:
    """A file on its way: it has no name, its key is nobody's but ours, and it is gone with us, however we end."""

    def __init__(self, directory: Path) -> None:
        self._file = TemporaryFile(dir=directory)  # noqa: SIM115 — closed by `close`
        self._keys = KeyRing(f"once:{base64.b64encode(secrets.token_bytes(32)).decode()}")
        self._sealing = Sealing(self._file, self._keys, "passing")

    @property
    def size(self) -> int:
        return self._sealing.size

    def write(self, data: bytes) -> None:
        self._sealing.write(data)

    def finish(self) -> SealedFile:
        self._sealing.finish()
        return SealedFile(self._file, self._keys, "passing")

    def close(self) -> None:
        self._file.close()


class Vault:
    """A directory of sealed files, readable by their owner only. What has a name there is whole and on the disk."""

    def __init__(self, directory: Path, keys: KeyRing) -> None:
        self._directory = directory
        self._keys = keys

    def passing(self) -> Passing:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Passing(self._directory)

    def keep(self, name: str, pieces: Iterable[bytes]) -> int:
        """Write a file whole, or anew; on return it survives a power cut. Returns its size in the clear."""
        path = self._path(name)
        part = path.with_name(f"{name}.{secrets.token_hex(4)}{ARRIVING}")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                sealing = Sealing(file, self._keys, name)
                for piece in pieces:
                    sealing.write(piece)
                sealing.finish()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        _sync(path.parent)
        _sync(self._directory)
        return sealing.size

    def open(self, name: str) -> SealedFile:
        """FileNotFoundError where there is none."""
        file = self._path(name).open("rb")
        try:
            return SealedFile(file, self._keys, name)
        except BaseException:
            file.close()
            raise

    def hold(self, name: str) -> None:
        """Make a file young again, so that nobody takes it for forgotten. FileNotFoundError where there is none."""
        os.utime(self._path(name))

    def has(self, name: str) -> bool:
        return self._path(name).exists()

    def remove(self, *names: str) -> None:
        for name in names:
            self._path(name).unlink(missing_ok=True)

    def turn_over(self, name: str) -> bool:
        """Seal a file with the writing key, while others read it. False where it was."""
        with self.open(name) as file:
            if file.key == self._keys.writing:
                return False
            self.keep(name, file.pieces())
        return True

    def old(self, now: float | None = None) -> Iterator[tuple[str, Path]]:
        """Files that are not of the last hour, and what was to become one: the name of each, and where it is."""
        for path in self._directory.glob("??/*"):
            with suppress(FileNotFoundError):
                if (time() if now is None else now) - path.stat().st_mtime > GRACE:
                    yield path.name, path

    def _path(self, name: str) -> Path:
        return self._directory / name[:2] / name


def _place(name: str, n: int, last: bool) -> str:
    return f"{name}/{n}/{'last' if last else 'more'}"


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Files as they arrive: what they are by their first bytes, how large they may become, and nowhere in the clear meanwhile."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Self

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from models.forms import FieldError
from starter.attachments.vault import SealedFile, Vault
from starter.refusals import Invalid, TooLarge

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MB = 1024 * 1024
A_REQUEST = 100 * MB
READ = 64 * 1024
HEAD = 512
"""So many bytes tell what a file is."""
CAPTION = 32 * 1024
NAME = 100


@dataclass(frozen=True)
class Kind:
    """A kind of file that may come in, and what it is called once it is kept."""

    name: str
    kept: str
    media: str
    most: int


KINDS = {
    kind.name: kind
    for kind in (
        Kind("jpg", "jpg", "image/jpeg", 10 * MB),
        Kind("png", "png", "image/png", 10 * MB),
        Kind("heic", "jpg", "image/jpeg", 10 * MB),
        Kind("pdf", "pdf", "application/pdf", 10 * MB),
        Kind("mp4", "mp4", "video/mp4", 30 * MB),
    )
}
PICTURES = {"jpg", "png"}
"""Of what is kept: what a browser may show in its place."""
HEIC = {b"heic", b"heix", b"heim", b"heis"}
MP4 = {b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"M4V ", b"3gp4", b"3gp5", b"3gp6"}


def kind_of(head: bytes) -> Kind | None:
    """What a file is, by its first bytes: neither its name nor what was declared of it counts."""
    if head.startswith(b"\xff\xd8\xff"):
        return KINDS["jpg"]
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return KINDS["png"]
    if head.startswith(b"%PDF-"):
        return KINDS["pdf"]
    if head[4:8] == b"ftyp":
        length = min(int.from_bytes(head[:4], "big"), len(head))
        brands = [head[8:12], *(head[at : at + 4] for at in range(16, length, 4))]
        if brands[0] in HEIC or (brands[0] == b"mif1" and HEIC.intersection(brands)):
            return KINDS["heic"]
        if brands[0] in MP4:
            return KINDS["mp4"]
    return None


class Arrival:
    """One file on its way in, the `nth` of its upload. Refused as soon as it is seen to be of no kind, or too large."""

    def __init__(self, vault: Vault, name: str, nth: int) -> None:
        self._passing = vault.passing()
        self._file: SealedFile | None = None
        self._kind: Kind | None = None
        self._head = b""
        self._hash = sha256()
        self._name = name
        self.field = f"file.{nth}"

    def write(self, data: bytes) -> None:
        if self._kind is None:
            self._head += data
            if len(self._head) < HEAD:
                return
            data = self._begin()
        self._take(data)

    def finish(self) -> None:
        if self._kind is None:
            self._take(self._begin())
        self._file = self._passing.finish()

    def close(self) -> None:
        self._passing.close()

    @property
    def kind(self) -> Kind:
        assert self._kind is not None
        return self._kind

    @property
    def file(self) -> SealedFile:
        assert self._file is not None
        return self._file

    @property
    def hash(self) -> str:
        return self._hash.hexdigest()

    @property
    def name(self) -> str:
        """What its sender called it, fit to be a file's name on any machine; its ending says what it is."""
        base = self._name.replace("\\", "/").rpartition("/")[2]
        known = "".join(sign for sign in base if sign.isprintable() and sign not in '<>:"|?*').strip(" .")
        stem = known.rpartition(".")[0] or known
        return f"{stem[:NAME].strip() or 'attachment'}.{self.kind.kept}"

    def refused(self, code: str, **values: str) -> Invalid:
        return Invalid([FieldError(field=self.field, code=code, values=values)])

    def _begin(self) -> bytes:
        if not self._head:
            raise self.refused("file_empty")
        self._kind = kind_of(self._head)
        if self._kind is None:
            raise self.refused("unknown_kind")
        return self._head

    def _take(self, data: bytes) -> None:
        if self._passing.size + len(data) > self.kind.most:
            nth = self.field.rpartition(".")[2]
            raise TooLarge("file_too_large", nth=nth, kind=self.kind.name, limit=str(self.kind.most // MB))
        self._hash.update(data)
        self._passing.write(data)


class Upload:
    """A form with files (`multipart/form-data`), taken in as it comes: `file`, once or more, and a `caption`."""

    def __init__(self, content_type: str, vault: Vault, most: int) -> None:
        media, options = parse_options_header(content_type)
        if media != b"multipart/form-data" or not options.get(b"boundary"):
            raise Invalid([FieldError(field="body", code="not_multipart")])
        self.files: list[Arrival] = []
        self._vault = vault
        self._most = most
        self._caption: bytearray | None = None
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        self._write: Callable[[bytes], None] | None = None
        self._taken = 0
        self._ended = False
        with _well_formed():
            self._parser = MultipartParser(options[b"boundary"], self._callbacks())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.files:
            file.close()

    def feed(self, data: bytes) -> None:
        """The next bytes of the body, as many as came. Invalid and TooLarge as soon as it is known."""
        self._taken += len(data)
        if self._taken > A_REQUEST:
            raise TooLarge("upload_too_large", limit=str(A_REQUEST // MB))
        with _well_formed():
            self._parser.write(data)

    def end(self) -> str | None:
        """No more is to come. The caption, where there is one."""
        if not self._ended:
            raise _broken()
        if not self.files:
            raise Invalid([FieldError(field="file", code="missing")])
        try:
            return None if self._caption is None else self._caption.decode()
        except UnicodeDecodeError:
            raise Invalid([FieldError(field="caption", code="string_unicode")]) from None

    def _callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_content,
            "on_part_data": lambda data, start, end: self._write(data[start:end]) if self._write else None,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        self._disposition = b""

    def _end_header(self) -> None:
        if bytes(self._header[0]).lower() == b"content-disposition":
            self._disposition = bytes(self._header[1])
        self._header = (bytearray(), bytearray())

    def _begin_content(self) -> None:
        _, options = parse_options_header(self._disposition)
        field = options.get(b"name", b"").decode(errors="replace")
        if field == "file" and b"filename" in options:
            if len(self.files) == self._most:
                raise TooLarge("too_many_files", limit=str(self._most))
            file = Arrival(self._vault, options[b"filename"].decode(errors="replace"), len(self.files) + 1)
            self.files.append(file)
            self._write = file.write
        elif field == "caption" and self._caption is None:
            self._caption = bytearray()
            self._write = self._write_caption
        else:
            raise Invalid([FieldError(field="body", code="extra_forbidden", values={"known": "file, caption"})])

    def _write_caption(self, data: bytes) -> None:
        assert self._caption is not None
        self._caption += data
        if len(self._caption) > CAPTION:
            raise Invalid([FieldError(field="caption", code="string_too_long", values={"max_length": "8000"})])

    def _end_part(self) -> None:
        if self._write and self._write != self._write_caption:
            self.files[-1].finish()
        self._write = None

    def _end(self) -> None:
        self._ended = True


@contextmanager
def from_disk(paths: list[Path], vault: Vault, most: int) -> Iterator[list[Arrival]]:
    """Files of this machine, taken in as if they had come over the wire."""
    if len(paths) > most:
        raise TooLarge("too_many_files", limit=str(most))
    with ExitStack() as arrived:
        files = []
        for nth, path in enumerate(paths, 1):
            files.append(Arrival(vault, path.name, nth))
            arrived.callback(files[-1].close)
            with path.open("rb") as source:
                while data := source.read(READ):
                    files[-1].write(data)
            files[-1].finish()
        yield files


@contextmanager
def _well_formed() -> Iterator[None]:
    try:
        yield
    except FormParserError:
        raise _broken() from None


def _broken() -> Invalid:
    return Invalid([FieldError(field="body", code="upload_broken")])

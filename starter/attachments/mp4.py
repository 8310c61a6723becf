"""A short film without what its camera wrote beside it.

Nothing is moved: what is kept stays where it was, so that every offset in the file still holds, and everything else
becomes zeros. Kept are the boxes named here, and of the media the samples of pictures and sound. So no place, no date, no
maker, no track of positions or of anything else, and nothing that lies between survives, whether we know it or not.
What an encoder hides within the pictures themselves (H.264 SEI) does.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Protocol

SECONDS = 60
INDEX = 8 * 1024 * 1024
"""The most that `moov`, the index of the samples, may take: a minute's is 100 KB."""
BOXES = 5000
ZEROS = 256 * 1024

INSIDE = {
    "moov": {"mvhd", "trak"},
    "trak": {"tkhd", "edts", "mdia"},
    "edts": {"elst"},
    "mdia": {"mdhd", "hdlr", "minf"},
    "minf": {"vmhd", "smhd", "dinf", "stbl"},
    "dinf": {"dref"},
    "stbl": {"stsd", "stts", "ctts", "stsc", "stsz", "stco", "co64", "stss", "sdtp", "sgpd", "sbgp", "cslg"},
}
"""The boxes that are kept, by the box they lie in."""
MEDIA = {"vide", "soun"}
PICTURES = {"avc1", "avc3", "hvc1", "hev1", "av01", "vp09", "mp4v"}
SOUNDS = {"mp4a", "ac-3", "ec-3", "Opus", "fLaC", "samr", "sawb"}
SETUP = {"avcC", "hvcC", "av1C", "vpcC", "esds", "colr", "pasp", "btrt", "dac3", "dec3", "dOps", "dfLa", "damr", "wave"}
"""What a decoder is told, within the description of the samples."""


class Unfit(ValueError):
    """The film is refused: a code of the catalogue."""


class Source(Protocol):
    """Bytes to be read from anywhere."""

    @property
    def size(self) -> int: ...

    def at(self, offset: int, length: int) -> bytes: ...


@dataclass(frozen=True)
class Box:
    """A box: its name, where it and its content begin, where it ends."""

    name: str
    start: int
    content: int
    end: int


@dataclass(frozen=True)
class Film:
    """A film as it is to be kept."""

    width: int
    height: int
    seconds: int
    source: Source
    known: list[tuple[int, bytes]]
    """Pieces by their offset that are written anew; all heads of boxes among them."""
    samples: list[tuple[int, int]]
    """From where to where the source is taken over."""

    def pieces(self) -> Iterator[bytes]:
        """The whole film, of the source's size; zeros for whatever is neither known nor a sample."""
        kept: list[tuple[int, int, bytes | None]] = [(at, at + len(data), data) for at, data in self.known]
        kept += [(start, end, None) for start, end in self.samples]
        at = 0
        for start, end, data in sorted(kept, key=lambda one: one[:2]):
            yield from _zeros(start - at)
            if data is None:
                for offset in range(start, end, ZEROS):
                    yield self.source.at(offset, min(ZEROS, end - offset))
            else:
                yield data
            at = end
        yield from _zeros(self.source.size - at)


@dataclass
class Track:
    """What the index says of the samples of one kind."""

    media: str
    seconds: float = 0.0
    width: int = 0
    height: int = 0
    samples: list[tuple[int, int]] = field(default_factory=list)


def cleaned(source: Source) -> Film:
    """Read a film's index and say what is kept. Unfit for one that is too long, damaged, in fragments, or no film."""
    try:
        return _cleaned(source)
    except (struct.error, IndexError, UnicodeDecodeError, ZeroDivisionError, KeyError) as error:
        raise Unfit("damaged") from error


def _cleaned(source: Source) -> Film:
    boxes = list(_boxes(source, 0, source.size))
    names = [box.name for box in boxes]
    if "moof" in names or "sidx" in names:
        raise Unfit("fragmented")
    if (
        names[:1] != ["ftyp"]
        or names.count("moov") != 1
        or names.count("ftyp") != 1
        or not 1 <= names.count("mdat") <= 16
    ):
        raise Unfit("damaged")
    known, tracks = [], []
    for box in boxes:
        head = bytearray(source.at(box.start, box.content - box.start))
        if box.name == "moov":
            index = _read(source, box, INDEX)
            tracks = _clean_index(index)
            known.append((box.start, bytes(head) + bytes(index)))
        elif box.name == "ftyp":
            known.append((box.start, bytes(head) + bytes(_read(source, box, 1024))))
        else:
            if box.name != "mdat":
                head[4:8] = b"free"
            known.append((box.start, bytes(head)))
    pictures = [track for track in tracks if track.media == "vide"]
    if not pictures:
        raise Unfit("no_pictures")
    seconds = max(track.seconds for track in tracks)
    if seconds >= SECONDS + 1:
        raise Unfit("too_long")
    samples = _merged(span for track in tracks for span in track.samples)
    media = [(box.content, box.end) for box in boxes if box.name == "mdat"]
    for start, end in samples:
        if not any(first <= start and end <= last for first, last in media):
            raise Unfit("damaged")
    return Film(pictures[0].width, pictures[0].height, round(seconds), source, known, samples)


def _read(source: Source, box: Box, most: int) -> bytearray:
    if box.end - box.content > most:
        raise Unfit("damaged")
    return bytearray(source.at(box.content, box.end - box.content))


def _boxes(source: Source, start: int, end: int) -> Iterator[Box]:
    """The boxes that fill a place without a byte between them. Unfit where they do not."""
    for _ in range(BOXES):
        if start == end:
            return
        size, name = struct.unpack(">I4s", source.at(start, 8))
        content = start + 8
        if size == 1:
            (size,) = struct.unpack(">Q", source.at(content, 8))
            content += 8
        elif size == 0:
            size = end - start
        if not content - start <= size <= end - start:
            break
        yield Box(name.decode("latin-1"), start, content, start + size)
        start += size
    raise Unfit("damaged")


@dataclass
class _Bytes:
    """The index as a source."""

    data: bytearray

    @property
    def size(self) -> int:
        return len(self.data)

    def at(self, offset: int, length: int) -> bytes:
        return bytes(self.data[offset : offset + length])


def _clean_index(index: bytearray) -> list[Track]:
    """Leave in the index what is named above; what it says of the tracks that stay."""
    source = _Bytes(index)
    tracks = []
    for box in _within(source, "moov", 0, len(index)):
        if box.name == "mvhd":
            _forget_times(index, box)
        elif track := _clean_track(source, box):
            tracks.append(track)
        else:
            _blank(index, box)
    return tracks


def _within(source: _Bytes, outer: str, start: int, end: int) -> Iterator[Box]:
    """The boxes in another that are kept; the others become nothing."""
    for box in _boxes(source, start, end):
        if box.name in INSIDE[outer]:
            yield box
        else:
            _blank(source.data, box)


def _blank(data: bytearray, box: Box) -> None:
    data[box.start + 4 : box.start + 8] = b"free"
    data[box.content : box.end] = bytes(box.end - box.content)


def _clean_track(source: _Bytes, trak: Box) -> Track | None:
    """What a track's boxes say, the rest of it blank; None for one of neither pictures nor sound."""
    found: dict[str, Box] = {}
    outer = [("trak", trak)]
    while outer:
        name, place = outer.pop()
        for box in _within(source, name, place.content, place.end):
            found[box.name] = box
            if box.name in INSIDE:
                outer.append((box.name, box))
    data = source.data
    handler = found["hdlr"]
    media = bytes(data[handler.content + 8 : handler.content + 12]).decode("latin-1")
    if media not in MEDIA:
        return None
    data[handler.content + 24 : handler.end] = bytes(max(handler.end - handler.content - 24, 0))
    scale = _forget_times(data, found["mdhd"])
    _forget_times(data, found["tkhd"])
    _clean_descriptions(source, found["stsd"], media)
    _check_references(source, found["dref"])
    width, height = struct.unpack(">II", data[found["tkhd"].end - 8 : found["tkhd"].end])
    times = _table(data, found["stts"], ">II")
    return Track(
        media, sum(n * delta for n, delta in times) / scale, width >> 16, height >> 16, _samples_of(data, found)
    )


def _forget_times(data: bytearray, box: Box) -> int:
    """Blank when it was made and changed. Returns the four bytes that follow: the scale, where there is one."""
    length = 16 if data[box.content] == 1 else 8
    start = box.content + 4
    if start + length + 4 > box.end:
        raise Unfit("damaged")
    data[start : start + length] = bytes(length)
    return int.from_bytes(data[start + length : start + length + 4], "big")


def _clean_descriptions(source: _Bytes, stsd: Box, media: str) -> None:
    """Of what describes the samples leave what a decoder needs."""
    for entry in _boxes(source, stsd.content + 8, stsd.end):
        if entry.name not in (PICTURES if media == "vide" else SOUNDS):
            raise Unfit("unknown_codec")
        if media == "vide":
            source.data[entry.content + 42 : entry.content + 74] = bytes(32)  # the encoder's name
            fixed = 78
        else:
            fixed = {0: 28, 1: 44, 2: 64}[int.from_bytes(source.at(entry.content + 8, 2), "big")]
        if entry.content + fixed > entry.end:
            raise Unfit("damaged")
        for box in _boxes(source, entry.content + fixed, entry.end):
            if box.name not in SETUP:
                _blank(source.data, box)


def _check_references(source: _Bytes, dref: Box) -> None:
    """The samples must lie in this very file."""
    for box in _boxes(source, dref.content + 8, dref.end):
        if source.at(box.content, 4)[3] & 1 == 0 or box.end - box.content > 4:
            raise Unfit("damaged")


def _samples_of(data: bytearray, found: dict[str, Box]) -> list[tuple[int, int]]:
    """Where the samples of a track lie, chunk by chunk: within a chunk they follow each other."""
    sizes = _Sizes(data, found)
    offsets = _table(data, found["co64"], ">Q") if "co64" in found else _table(data, found["stco"], ">I")
    runs = _table(data, found["stsc"], ">III")
    spans, sample = [], 0
    for n, (first, per_chunk, _) in enumerate(runs):
        until = runs[n + 1][0] if n + 1 < len(runs) else len(offsets) + 1
        if not 1 <= first <= until <= len(offsets) + 1:
            raise Unfit("damaged")
        for (offset,) in offsets[first - 1 : until - 1]:
            spans.append((offset, offset + sizes.sum(sample, sample + per_chunk)))
            sample += per_chunk
    if sample != sizes.count or (runs and runs[0][0] != 1):
        raise Unfit("damaged")
    return spans


class _Sizes:
    """How long the samples of a track are."""

    def __init__(self, data: bytearray, found: dict[str, Box]) -> None:
        if "stsz" not in found:
            raise Unfit("unknown_codec")  # `stz2`, which hardly anybody writes
        start = found["stsz"].content + 4
        self._same, self.count = struct.unpack(">II", data[start : start + 8])
        self._until = [0]
        if not self._same:
            table = data[start + 8 : start + 8 + 4 * self.count]
            self._until = list(accumulate(struct.unpack(f">{self.count}I", table), initial=0))

    def sum(self, first: int, last: int) -> int:
        """Of the samples from one up to another, which is not counted."""
        if last > self.count:
            raise Unfit("damaged")
        return self._same * (last - first) if self._same else self._until[last] - self._until[first]


def _table(data: bytearray, box: Box, row: str) -> list[tuple[int, ...]]:
    """The rows of a box that is a version, a count and rows."""
    (count,) = struct.unpack(">I", data[box.content + 4 : box.content + 8])
    start, length = box.content + 8, struct.calcsize(row)
    if start + count * length > box.end:
        raise Unfit("damaged")
    data[start + count * length : box.end] = bytes(box.end - start - count * length)
    return list(struct.iter_unpack(row, data[start : start + count * length]))


def _merged(spans: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif end > start:
            merged.append((start, end))
    return merged


def _zeros(length: int) -> Iterator[bytes]:
    for done in range(0, length, ZEROS):
        yield bytes(min(ZEROS, length - done))

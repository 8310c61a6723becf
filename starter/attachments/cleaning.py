"""What a picture or a PDF may hold, in a process of its own: with little memory, no environment, and nothing it could write to.

`python cleaning.py KIND` reads a file and writes one line of JSON, the preview, and the file as it is to be kept. It
stands alone: nothing of ours is imported, so that the process knows no key and starts at once.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

PIXELS = 50_000_000
PREVIEW = 480
QUALITIES = (88, 75, 60)
"""Of a JPEG, one after the other until it is not larger than what may come in."""
MOST = 10 * 1024 * 1024

MEMORY = 2 * 1024**3
CPU_SECONDS = 30
WITHIN = 60

READS = {"jpg": "JPEG", "png": "PNG", "heic": "HEIF"}
ACTIONS = {
    f"/{name}" for name in ("JavaScript", "Launch", "SubmitForm", "ImportData", "GoToE", "GoToR", "Rendition", "Movie")
}
"""What a PDF may not do. It may go to a page of its own, and name an address to go to."""
PARTS = {"/JS", "/JavaScript", "/EmbeddedFiles", "/EF", "/XFA", "/RichMediaContent"}
ZIP_END = b"PK\x05\x06"
ZIP_TAIL = 66_000


class CannotClean(Exception):
    """The file is refused: a code of the catalogue."""


@dataclass(frozen=True)
class Cleaned:
    """A file as it is to be kept, and what is known of it."""

    body: bytes
    preview: bytes = b""
    width: int | None = None
    height: int | None = None


def clean(data: bytes, kind: str) -> Cleaned:
    """Have a file cleaned by a process of its own. CannotClean says why not; whatever breaks that process is the file's fault."""
    command = [sys.executable, "-I", str(Path(__file__)), kind]
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=WITHIN, env={}, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise CannotClean("damaged") from None
    head, _, rest = done.stdout.partition(b"\n")
    if done.returncode != 0 or not head:
        raise CannotClean("damaged")
    found = json.loads(head)
    if "refused" in found:
        raise CannotClean(found["refused"])
    size = found["preview"]
    return Cleaned(rest[size:], rest[:size], found["width"], found["height"])


def picture(data: bytes, kind: str) -> Cleaned:
    """A picture made anew: upright, in sRGB, without a word of what its camera wrote beside it."""
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = PIXELS
    if kind == "heic":
        from pillow_heif import register_heif_opener

        register_heif_opener(thumbnails=False)
    try:
        image: Image.Image = Image.open(BytesIO(data), formats=[READS[kind]])
        if image.width * image.height > PIXELS:
            raise CannotClean("too_many_pixels")
        image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise CannotClean("too_many_pixels") from None
    except (OSError, SyntaxError, ValueError, EOFError, UnidentifiedImageError):
        raise CannotClean("damaged") from None
    image = _plain(image, alpha=kind == "png")
    body = _png(image) if kind == "png" else _jpeg(image)
    return Cleaned(body, _preview(image), image.width, image.height)


def _plain(image: "Image", *, alpha: bool) -> "Image":
    from PIL import ImageOps

    ImageOps.exif_transpose(image, in_place=True)
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        image = image.convert("I").point([n // 256 for n in range(65536)], "L")
    seen_through = alpha and ("A" in image.mode or "transparency" in image.info)
    if seen_through:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "RGB", "CMYK") or (image.mode == "CMYK" and not profile):
        image = image.convert("L" if image.mode == "1" else "RGB")
    if profile and image.mode != "L":
        image = _in_srgb(image, profile)
    if image.mode == "CMYK":
        image = image.convert("RGB")
    image.info = {}
    return image


def _in_srgb(image: "Image", profile: bytes) -> "Image":
    """The same colours without the profile; one that is none is left out."""
    from PIL import ImageCms

    with suppress(ImageCms.PyCMSError, OSError, ValueError):
        given, ours = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
        seen_through = image.getchannel("A") if image.mode == "RGBA" else None
        opaque = image.convert("RGB") if seen_through else image
        turned = ImageCms.profileToProfile(opaque, given, ours, outputMode="RGB")
        if turned is not None:
            if seen_through:
                turned.putalpha(seen_through)
            return turned
    return image


def _png(image: "Image") -> bytes:
    out = BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _jpeg(image: "Image") -> bytes:
    for quality in QUALITIES:
        out = BytesIO()
        image.save(out, "JPEG", quality=quality)
        if out.tell() <= MOST:
            return out.getvalue()
    raise CannotClean("too_many_pixels")


def _preview(image: "Image") -> bytes:
    from PIL import Image

    small = image.reduce(max(max(image.size) // (2 * PREVIEW), 1))
    small.thumbnail((PREVIEW, PREVIEW))
    if small.mode == "RGBA":
        small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")
    out = BytesIO()
    small.save(out, "JPEG", quality=80)
    return out.getvalue()


def document(data: bytes) -> Cleaned:
    """A PDF as it is: to change a byte would break the signature of an electronic invoice. One that acts is refused."""
    import pikepdf

    if not data.startswith(b"%PDF-") or data.rpartition(b"%%EOF")[2].strip(b"\r\n\t \0") or b"%%EOF" not in data:
        raise CannotClean("damaged")
    if ZIP_END in data[-ZIP_TAIL:]:
        raise CannotClean("two_kinds")
    try:
        with pikepdf.open(BytesIO(data), attempt_recovery=False) as pdf:
            if not len(pdf.pages):
                raise CannotClean("damaged")
            if any(_acts(known) for known in _dictionaries(pdf.objects)):
                raise CannotClean("active_pdf")
    except pikepdf.PasswordError:
        raise CannotClean("locked_pdf") from None
    except (pikepdf.PdfError, ValueError, RuntimeError):
        raise CannotClean("damaged") from None
    return Cleaned(data)


def _acts(known: Any) -> bool:
    return (
        not PARTS.isdisjoint(known.keys())
        or str(known.get("/S", "")) in ACTIONS
        or str(known.get("/Subtype", "")) in ("/RichMedia", "/Screen", "/Movie")
    )


def _dictionaries(objects: Any) -> Iterator[Any]:
    """Every dictionary of a PDF, those within others too."""
    import pikepdf

    left = list(objects)
    while left:
        one = left.pop()
        if isinstance(one, pikepdf.Stream):
            one = one.stream_dict
        if isinstance(one, pikepdf.Dictionary):
            yield one
            inner = [value for _, value in one.items()]
        elif isinstance(one, pikepdf.Array):
            inner = list(one)
        else:
            continue
        left += [value for value in inner if isinstance(value, pikepdf.Object) and not value.is_indirect]


def main(kind: str) -> None:
    for limit, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ValueError, OSError):  # macOS knows no limit of addresses
            resource.setrlimit(limit, (most, most))
    data = sys.stdin.buffer.read()
    try:
        cleaned = document(data) if kind == "pdf" else picture(data, kind)
    except CannotClean as error:
        sys.stdout.buffer.write(json.dumps({"refused": str(error)}).encode() + b"\n")
        return
    known = {"width": cleaned.width, "height": cleaned.height, "preview": len(cleaned.preview)}
    sys.stdout.buffer.write(json.dumps(known).encode() + b"\n" + cleaned.preview)
    sys.stdout.buffer.write(cleaned.body)


if __name__ == "__main__":
    main(sys.argv[1])

"""The press: makes a PDF of a form's data, in memory, beside the event loop and within a time.

The fonts come in wheels: Noto Sans CJK, Noto Emoji and Noto Sans for other scripts, under the SIL Open Font License 1.1,
which leaves a document free that embeds them. Only the glyphs that are used are embedded.
"""

import asyncio
import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import structlog
import typst

from starter.refusals import Busy

TEMPLATE = Path(__file__).with_name("record.typ")
FONT_WHEELS = ("manimgx_fonts_cjk", "manimgx_fonts")
FAMILIES = [
    "Noto Sans CJK SC",
    "Noto Emoji",
    "Noto Sans Symbols",
    *(f"Noto Sans {script}" for script in ("Arabic", "Hebrew", "Thai", "Lao", "Khmer", "Myanmar", "Devanagari")),
    *(f"Noto Sans {script}" for script in ("Bengali", "Gujarati", "Gurmukhi", "Kannada", "Malayalam", "Oriya")),
    *(f"Noto Sans {script}" for script in ("Sinhala", "Tamil", "Telugu", "Armenian", "Georgian", "Ethiopic")),
    "Noto Sans",
]
WITHIN = 20.0
"""Seconds in which a form must be set; the longest that the doors let in takes about two."""
RUN = 24
"""So many characters in a row that no line may break between get places where it may."""

log = structlog.get_logger()

_press = ThreadPoolExecutor(1, thread_name_prefix="press")
"""One at a time: a form that takes too long holds up other forms and nothing else."""

_UNBROKEN = re.compile(rf"[^\s\u2e80-\u2fff\u3041-\u9fff\uac00-\ud7af\uf900-\ufaff\U00010000-\U0010ffff]{{{RUN},}}")
_PLACES = re.compile(r"(?s)(.{12})(?=[^\u0300-\u036f\u200b-\u200f\u20d0-\u20ff\ufe00-\ufe0f]{2})")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b\u202a-\u202e\u2066-\u2069]")


async def printed(form: dict[str, Any], at: datetime) -> bytes:
    """The form as a PDF that says it was made `at` that instant: the same form is the same file. Busy where it takes too long."""
    work = asyncio.get_running_loop().run_in_executor(_press, pdf, form, at)
    try:
        return await asyncio.wait_for(work, WITHIN)
    except TimeoutError as error:
        log.error("press.too_slow", seconds=WITHIN)
        raise Busy("printing_slow") from error


def pdf(form: dict[str, Any], at: datetime) -> bytes:
    """The form as a PDF for archives (PDF/A-2u), here and now; as a plain one where no font has a character that it holds."""
    try:
        return _compiled(form, at, ["a-2u"])
    except typst.TypstError:  # its message may quote a text of the form
        return _compiled({**form, "notes": [*form["notes"], form["boxes"]]}, at, [])


def _compiled(form: dict[str, Any], at: datetime, standards: list[Any]) -> bytes:
    made = typst.compile(
        TEMPLATE.read_bytes(),
        format="pdf",
        font_paths=_fonts(),
        ignore_system_fonts=True,
        sys_inputs={"form": json.dumps({**breakable(form), "fonts": FAMILIES}, ensure_ascii=False, sort_keys=True)},
        timestamp=int(at.timestamp()),
        pdf_standards=standards,
    )
    return bytes(made)


def breakable(said: Any) -> Any:
    """A form whose lines can all be broken, without what would turn the rest of a line around."""
    if isinstance(said, dict):
        return {name: breakable(part) for name, part in said.items()}
    if isinstance(said, list):
        return [breakable(part) for part in said]
    if not isinstance(said, str):
        return said
    clean = _CONTROLS.sub("", said.replace("\r\n", "\n").replace("\r", "\n"))
    return _UNBROKEN.sub(lambda run: _PLACES.sub("\\1\u200b", run[0]), clean)


@cache
def _fonts() -> typst.Fonts:
    """The fonts of the wheels and no others: a form looks alike on every machine."""
    specs = [find_spec(wheel) for wheel in FONT_WHEELS]
    folders = [str(Path(spec.origin).parent) for spec in specs if spec and spec.origin]
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=folders)

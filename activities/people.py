"""The directory of people and stores, read from a file the engineer edits."""

import tomllib
from pathlib import Path

from pydantic import ValidationError

from models.people import Directory

SAMPLE = Path(__file__).with_name("directory.toml")


class BadDirectory(ValueError):
    """The directory file cannot be used; nothing of it is."""


def read_directory(path: Path) -> Directory:
    """Read the directory; a missing file is first made from the sample. BadDirectory names the place and the reason."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    try:
        return Directory.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadDirectory(f"{path}: {error}") from error
    except ValidationError as error:
        places = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'directory'}: {e['msg']}" for e in error.errors())
        raise BadDirectory(f"{path}: {places}") from error

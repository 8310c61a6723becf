"""What messages go out from, read from a file the engineer edits: groups, rules, accounts."""

import tomllib
from pathlib import Path

from pydantic import ValidationError

from models.reach import ReachBook


class BadReach(ValueError):
    """The file cannot be used. It names the place and the reason, and repeats no address."""


def read_reach(path: Path) -> ReachBook:
    """The file, or an empty book where there is none: no groups, no accounts, the rules as they are. BadReach where it does not hold."""
    if not path.exists():
        return ReachBook()
    try:
        return ReachBook.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except tomllib.TOMLDecodeError as error:
        raise BadReach(f"{path}: {error}") from None
    except UnicodeDecodeError:
        raise BadReach(f"{path}: not UTF-8") from None
    except ValidationError as error:
        places = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'people'}: {e['msg']}"
            for e in error.errors(include_input=False, include_url=False)
        )
        raise BadReach(f"{path}: {places}") from None

"""The policy: the numbers of the handbook as data, read when a case opens and never for one that runs."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel, ValidationError

from models.people import Role
from models.promises import Promise
from models.tasks import Process

SHIPPED = Path(__file__).with_name("policy.toml")


class BadPolicy(ValueError):
    """The policy file cannot be used: which file, which number, and why."""


@runtime_checkable
class Agrees(Protocol):
    """Promises that must fit those of other processes."""

    def agree(self, others: Mapping[str, BaseModel]) -> None:
        """ValueError where they do not: which, and why."""


def check(processes: Iterable[Process], path: Path = SHIPPED) -> None:
    """Read the policy of every process once, before anything depends on it. Raises BadPolicy."""
    read: dict[str, BaseModel] = {}
    for process in processes:
        try:
            read[process.name] = promises(process, path)
            intake(process, path)
        except OSError as error:
            raise BadPolicy(f"{path}: {error.strerror}") from error
        except tomllib.TOMLDecodeError as error:
            raise BadPolicy(f"{path}: {error}") from error
        except KeyError as error:
            raise BadPolicy(f"{path}: section [{process.name}] lacks {error}") from error
        except ValidationError as error:
            places = "; ".join(f"{process.name}.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise BadPolicy(f"{path}: {places}") from error
    for section in read.values():
        try:
            if isinstance(section, Agrees):
                section.agree(read)
        except ValueError as error:
            raise BadPolicy(f"{path}: {error}") from error


@cache
def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _section(process: Process, path: Path) -> dict[str, Any]:
    """What a file says of a process: the shipped one's, where it was written before there was the process."""
    written = _read(path)
    section: dict[str, Any] = written[process.name] if process.name in written else _read(SHIPPED)[process.name]
    return section


def promises(process: Process, path: Path = SHIPPED) -> BaseModel:
    """The promises and terms a case of this process opens under. ValidationError names the number that does not hold."""
    section = _section(process, path)
    patience = _read(path).get("escalation", {}).get("acknowledge")
    promised = {
        name: {"name": name, **promise}
        | ({"ladder": [_rung(rung, patience) for rung in promise["ladder"]]} if "ladder" in promise else {})
        for name, promise in section["promises"].items()
    }
    return process.promises.model_validate(promised | ({"terms": section["terms"]} if "terms" in section else {}))


def _rung(rung: list[str], patience: str | None) -> list[str | None]:
    """A rung as it is frozen into a case: with how long the one who hears of a breach has to acknowledge."""
    when, who, *said = rung
    within: list[str | None] = [*said]
    is_breach = not when.startswith("-") and who != Role.OWNER
    return [when, who, *(within or [patience if is_breach else None])]


def each(promises: BaseModel) -> Iterator[Promise]:
    """The promises alone, without the terms that come with them."""
    return (promise for _, promise in promises if isinstance(promise, Promise))


def intake(process: Process, path: Path = SHIPPED) -> BaseModel:
    """What the door asks of a new case of this process."""
    return process.intake.model_validate(_section(process, path)["intake"])

"""The policy: the numbers of the handbook as data, read when a case opens and never for one that runs."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel, ValidationError

from models.tasks import Process, Promise

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


def _section(process: Process, path: Path) -> Any:
    """What a file says of a process; what is shipped where it is silent: a release may bring a process that it does not know."""
    own = _read(path).get(process.name)
    return _read(SHIPPED)[process.name] if own is None else own


def promises(process: Process, path: Path = SHIPPED) -> BaseModel:
    """The promises and terms a case of this process opens under. ValidationError names the number that does not hold."""
    section = _section(process, path)
    promised = {name: {"name": name, **promise} for name, promise in section["promises"].items()}
    return process.promises.model_validate(promised | ({"terms": section["terms"]} if "terms" in section else {}))


def each(promises: BaseModel) -> Iterator[Promise]:
    """The promises alone, without the terms that come with them."""
    return (promise for _, promise in promises if isinstance(promise, Promise))


def intake(process: Process, path: Path = SHIPPED) -> BaseModel:
    """What the door asks of a new case of this process."""
    return process.intake.model_validate(_section(process, path)["intake"])

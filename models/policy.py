"""The policy: the numbers of the handbook as data, read when a case opens and never for one that runs."""

import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from models.tasks import Process, Promise

SHIPPED = Path(__file__).with_name("policy.toml")


class BadPolicy(ValueError):
    """The policy file cannot be used: which file, which number, and why."""


def check(processes: Iterable[Process], path: Path = SHIPPED) -> None:
    """Read the policy of every process once, before anything depends on it. Raises BadPolicy."""
    for process in processes:
        try:
            promises(process, path), intake(process, path)
        except OSError as error:
            raise BadPolicy(f"{path}: {error.strerror}") from error
        except tomllib.TOMLDecodeError as error:
            raise BadPolicy(f"{path}: {error}") from error
        except KeyError as error:
            raise BadPolicy(f"{path}: section [{process.name}] lacks {error}") from error
        except ValidationError as error:
            places = "; ".join(f"{process.name}.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise BadPolicy(f"{path}: {places}") from error


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
    promised = {name: {"name": name, **promise} for name, promise in section["promises"].items()}
    return process.promises.model_validate(promised | ({"terms": section["terms"]} if "terms" in section else {}))


def each(promises: BaseModel) -> Iterator[Promise]:
    """The promises alone, without the terms that come with them."""
    return (promise for _, promise in promises if isinstance(promise, Promise))


def intake(process: Process, path: Path = SHIPPED) -> BaseModel:
    """What the door asks of a new case of this process."""
    return process.intake.model_validate(_section(process, path)["intake"])

"""The policy: the numbers of the handbook as data, read when a case opens and never for one that runs."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from models.tasks import Process

SHIPPED = Path(__file__).with_name("policy.toml")


@cache
def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def promises(process: Process, path: Path = SHIPPED) -> BaseModel:
    """The promises a case of this process opens under. ValidationError names the number that does not hold."""
    section = _read(path)[process.name]["promises"]
    return process.promises.model_validate({name: {"name": name, **promise} for name, promise in section.items()})


def intake(process: Process, path: Path = SHIPPED) -> BaseModel:
    """What the door asks of a new case of this process."""
    return process.intake.model_validate(_read(path)[process.name]["intake"])

"""A terminal to run commands at, within a test."""

from types import ModuleType

import pytest

from settings import House
from starter.commands import terminal
from tests.conftest import KEYS


def wide_and_chinese(house: House, monkeypatch: pytest.MonkeyPatch, *commands: ModuleType) -> None:
    """A wide terminal of a Chinese reader, in a house whose engine is not there."""
    for module in (terminal, *commands):
        monkeypatch.setattr(module, "LANGUAGE", "zh")
    monkeypatch.setattr(terminal.out, "width", 200)
    monkeypatch.setattr(terminal, "configure_logs", lambda: None)
    monkeypatch.setenv("KEFU_DATA", str(house.settings.data))
    monkeypatch.setenv("KEFU_KEYS", KEYS)
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")  # nobody listens there

"""The README is tested: its tables are those of the code, what it names exists, and its lines work when they are pasted."""

import ast
import asyncio
import inspect
import json
import os
import re
import shutil
import socket
import tomllib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import uvicorn
from httpx2 import AsyncClient
from typer.main import get_command

from models import policy
from models.complaint import COMPLAINT
from models.complaint.facts import ComplaintIntake
from models.promises import Promise, Rung
from models.words import say
from settings import Settings
from starter.__main__ import app
from starter.members.files import TABLES
from starter.spreadsheets.columns import leaves_of
from tests.office import DAY, HOUR, Office, eventually
from workflows.complaint import ComplaintWorkflow

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

NINE = ["case", "submission", "form", "task", "promise", "ladder", "notice", "ledger", "desk"]
SINCE = {
    "received_at": "receipt",
    "open": "the submission",
    "solution": "the proposal",
    "consent": "the customer's answer",
    "callback": "the callback",
    "out_of_authority": "when it was found so",
    "agreement": "the agreement",
    "ask_department": "the question",
    "sign_off": "the manager's word",
    "refer": "the reference",
    "decision": "the manager's word",
}
"""What the README calls the instant a clock runs from."""


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def blocks(text: str, language: str = "") -> list[str]:
    """The fenced blocks of one language, as they would be pasted."""
    fenced = re.findall(r"(?ms)^```(\w*)\n(.*?)^```$", text)
    return [code for spoken, code in fenced if spoken == language]


def table(text: str) -> list[list[str]]:
    """The cells of a table's rows, its header apart."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


# The promises


def in_words(span: timedelta) -> str:
    hours = abs(span) // timedelta(hours=1)
    return f"{hours} h" if hours <= 72 else f"{hours // 24} days"


def heard_by(rung: Rung) -> str:
    when = f"{in_words(rung.after)} {'before' if rung.is_reminder else 'after'}" if rung.after else "at due"
    return f"{rung.tell} {when}"


def promise_row(promise: Promise, form: str, anchor: str) -> str:
    cells = (
        f"{promise.name.replace('_', ' ')} {say('form', form)}",
        f"{in_words(promise.within)} from {SINCE[anchor]}",
        promise.basis,
        " · ".join(heard_by(rung) for rung in promise.ladder) or "nobody",
    )
    return f"| {' | '.join(cells)} |"


def intake_sentence(intake: ComplaintIntake) -> str:
    minutes = intake.clocks_differ // timedelta(minutes=1)
    return (
        f"A receipt may be typed up to {intake.oldest_receipt.days} days late, "
        f"and lie at most {minutes} minute ahead of our clock."
    )


async def one_of_each_task(office: Office) -> dict[str, tuple[str, str]]:
    """The form and the anchor of every promise, from complaints that meet them all."""
    case = await office.open()
    await office.hand_in(case, "out_of_authority", reason="要求三倍赔偿")
    await office.hand_in(case, "agreement", reply_at=(office.now() + DAY).isoformat())
    await office.hand_in(case, "decision", by="wang", verdict="approve")
    await office.hand_in(case, "ask_department", department="merchandise", question="同批次有没有别的投诉")
    await office.hand_in(case, "refer", body="12315", reference="1", due_at=(office.now() + DAY).isoformat())
    await office.hand_in(case, "solution", **office.SOLUTION)
    await office.hand_in(case, "consent", accepted=False)
    await office.hand_in(case, "solution", **office.SOLUTION)
    await office.hand_in(case, "consent", accepted=True)
    await office.hand_in(case, "execution", content="新衣已寄出")
    await office.pass_time(2 * DAY)
    for channel, tried_at in (("phone", 30 * HOUR), ("sms", HOUR), ("phone", HOUR)):
        await office.hand_in(case, "attempt", channel=channel, tried_at=(office.now() - tried_at).isoformat())
    assert (await office.hand_in(case, "callback", outcome="unreachable")).state == "decided"
    await office.hand_in(case, "sign_off", by="wang", approved=False)
    await office.hand_in(case, "callback", outcome="satisfied", satisfaction=5)
    ofstore = await office.open(origin="store", store_handling={"reply": "已致歉"}, customer={})
    tasks = [*office.tasks(case).values(), *office.tasks(ofstore).values()]
    return {task.due_because["promise"]: (task.form, task.due_because["anchor"]) for task in reversed(tasks)}


async def test_the_promises_are_those_of_the_policy_and_run_from_where_the_case_says(office: Office):
    found = await one_of_each_task(office)
    rows = [promise_row(promise, *found[promise.name]) for promise in policy.each(policy.promises(COMPLAINT))]
    intake = policy.intake(COMPLAINT)
    assert isinstance(intake, ComplaintIntake)
    shown = README.split("<!-- promises -->\n")[1].split("<!-- /promises -->")[0]
    head = "| task | due | basis | who hears when |\n|---|---|---|---|\n"
    assert shown == head + "\n".join(rows) + f"\n\n{intake_sentence(intake)}\n", "put the new table into the README"


# The process as it is shown

RUN = "\n\n".join(dedent(inspect.getsource(part)) for part in (ComplaintWorkflow.run, ComplaintWorkflow.handled))


def test_the_run_that_is_shown_is_the_one_that_runs():
    assert blocks(section("How it is built"), "python") == [RUN]


def test_the_complaints_run_is_at_most_40_lines():
    assert len(RUN.splitlines()) <= 40


def test_the_complaints_run_holds_no_timer_no_retry_option_and_no_literal():
    functions = [part for part in ast.parse(RUN).body if isinstance(part, ast.AsyncFunctionDef)]
    assert [function.name for function in functions] == ["run", "handled"]
    parts = [part for function in functions for statement in function.body for part in ast.walk(statement)]
    docstrings = [ast.get_docstring(function, clean=False) for function in functions]
    assert [part.value for part in parts if isinstance(part, ast.Constant)] == docstrings
    names = {getattr(part, name) for part in parts for name in ("id", "attr", "arg") if hasattr(part, name)}
    assert {"resume", "ask"} <= names
    assert [
        name for name in names if re.search("(?i)timer|timeout|sleep|timedelta|now|wait|retry|state|status", name)
    ] == []


# What is named


def test_the_settings_are_all_there_with_their_defaults_and_no_others():
    def shown(default: Any) -> str:
        if default is None:
            return "unset"
        return f"`{default.relative_to(ROOT) if default == policy.SHIPPED else default}`"

    prefix = Settings.model_config["env_prefix"]
    known = {f"`{prefix}{name.upper()}`": shown(field.default) for name, field in Settings.model_fields.items()}
    assert {row[0]: row[1] for row in table(section("Settings"))} == known


def test_the_make_targets_exist():
    targets = re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text())
    named = set(re.findall(r"`make ([a-z]+)", README))
    assert {"demo", "test"} <= named <= set(targets)


def test_every_command_is_named_and_exists():
    assert set(re.findall(r"(?:`|\$ )kefu ([a-z-]+)", README)) == set(get_command(app).commands)  # type: ignore[attr-defined]


def test_the_columns_of_members_and_receipts_are_those_of_the_empty_workbooks():
    for name, table in TABLES.items():
        columns = [leaf.label() + ("\\*" if leaf.required else "") for leaf in leaves_of(table)]
        assert ", ".join(columns) in README.replace("\n  ", " "), name


def test_the_glossary_has_the_nine_words_and_no_others():
    rows = {word: screen for word, _, screen in table(section("Glossary"))}
    assert list(rows) == NINE
    assert say("screen", "case") in rows["case"]
    assert rows["task"] == say("screen", "task")


def test_the_house_is_as_it_is_drawn():
    house = next(block for block in blocks(section("How it is built")) if "models/" in block)
    drawn = re.findall(r"(?m)^(\S+)  ", house)
    paths = re.findall(r"`([a-z]\w*/\w+\.\w+)`", README)
    assert len(paths) > 4
    assert [path for path in (*drawn, *paths) if not (ROOT / path).exists()] == []
    assert {f"{package.parent.name}/" for package in ROOT.glob("*/__init__.py")} <= set(drawn)


def test_the_changelog_says_of_this_release_what_becomes_of_running_cases():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").split("\n## ")[1]
    assert newest.startswith(version)
    assert "\n### Running cases\n" in newest


# The lines to paste

DOOR = f"127.0.0.1:{Settings.model_fields['port'].default}"


@pytest.fixture
async def address(office: Office) -> AsyncIterator[str]:
    """Where the office's API listens on a port of its own."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(office.app, log_config=None, lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[door]))
        await eventually(lambda: server.started)
        yield f"127.0.0.1:{door.getsockname()[1]}"
        server.should_exit = True
        await serving


async def pasted(script: str, address: str) -> str:
    """What a shell says to lines of the README, the port replaced."""
    assert shutil.which("curl"), (
        "there is no curl on this machine: install it, the README's lines are run as they stand"
    )
    assert DOOR in script
    bash = await asyncio.create_subprocess_exec(
        *("bash", "-c", script.replace(DOOR, address)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "no_proxy": "127.0.0.1"},
    )
    said, complaints = await bash.communicate()
    assert (bash.returncode, complaints.decode()) == (0, "")
    return said.decode()


def curl_lines() -> tuple[list[str], str]:
    """The five lines with what comes before them, and the forms that may stand in place of the second."""
    five, steps = blocks(section("The API in five curl lines"), "bash")
    return re.split(r"(?m)^(?=# \d\. )", five), steps


def test_there_are_five_curl_lines():
    lines, _ = curl_lines()
    assert [line.count("curl ") for line in lines] == [0, 1, 1, 1, 1, 1]


async def test_the_five_curl_lines_take_a_complaint_to_the_archive(office: Office, address: str):
    lines, _ = curl_lines()
    solved, called, recorded, shown = (await pasted("".join(lines), address)).split("\n", 3)
    assert [solved, called, recorded] == ["solve 200", "callback 200", "record 200"]
    case = json.loads(shown)
    assert (case["state"], case["closed_because"]) == ("archived", "completed")
    assert office.case(case["case"]).state == "archived"


async def test_a_form_at_a_time_takes_it_there_too(address: str):
    [before, opening, _, *rest], steps = curl_lines()
    *answers, shown = (await pasted("".join([before, opening, steps, *rest]), address)).split("\n", 6)
    assert answers == [f"{form} 200" for form in ("reply", "solution", "consent", "execution", "callback", "record")]
    assert json.loads(shown)["state"] == "archived"


async def test_the_lists_that_are_named_are_there(address: str):
    async with AsyncClient(base_url=f"http://{address}") as anybody:
        paths = (await anybody.get("/openapi.json")).json()["paths"]
    named = re.findall(r"`GET (/\S+)`", README)
    assert len(named) > 3
    assert [path for path in named if "get" not in paths.get(path, {})] == []

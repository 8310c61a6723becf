"""`kefu up --sample` as a newcomer starts it: from the submission to the archive over HTTP, and not a word of it outside the sealed columns."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Client, ConnectError, ReadTimeout, RemoteProtocolError
from typer.testing import CliRunner

from activities.people import SAMPLE
from models.policy import SHIPPED
from starter import sample
from starter.__main__ import app
from tests.conftest import free_ports
from tests.letterbox import MailServer, mail_server
from tests.office import DAY, HOUR, eventually

HEAR = ("lin", "wang", "zhao", "sun")
CASE = {
    "form_no": "OA-2026-1123",
    "kind": "complaint",
    "channel": "oa",
    "store": "SH01",
    "content": "羽绒服穿了两次就跑绒",
    "customer": {"name": "钱多多", "phone": "13900009999"},
}
FORMS: dict[str, dict[str, Any]] = {
    "reply": {"content": "已电话致歉"},
    "solution": {"steps": "换一件新的", "duration": "P2D", "effect": "不再跑绒", "remedy": "exchange"},
    "consent": {"accepted": True},
    "execution": {"content": "新衣已寄出"},
    "callback": {"outcome": "satisfied", "satisfaction": 5},
    "record": {"finding": "充绒工艺不良"},
}


@dataclass
class Machine:
    """A running `kefu up`."""

    process: subprocess.Popen[bytes]
    data: Path
    log: Path
    port: int
    mail: MailServer

    def at_the_door(self, actor: str) -> Client:
        return Client(base_url=f"http://127.0.0.1:{self.port}", headers={"X-Kefu-Actor": actor}, timeout=20)

    def pid_of(self, part: str) -> int:
        return int((self.data / f"{part}.pid").read_text() or 0)  # empty for a moment while it is written

    async def ready(self) -> None:
        await eventually(self._is_ready, within=60)

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            with self.at_the_door("lin") as lin:
                return "sample.filled" in self.log.read_text() and lin.get("/health").status_code == 200
        except (ConnectError, ReadTimeout, RemoteProtocolError):
            return False


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    base = tmp_path_factory.mktemp("machine")
    furnish(base)
    with mail_server() as mail:
        started = start(base, mail)
        yield started
        if started.process.poll() is None:
            started.process.terminate()
            started.process.wait(60)


def furnish(base: Path) -> None:
    """People who read mail, a manager somebody stands in for, and seconds of patience with him; all else as it is shipped."""
    people = SAMPLE.read_text("utf-8").replace('id = "wang",', 'id = "wang", deputies = ["zhao"],')
    for who in HEAR:
        people = people.replace(f'id = "{who}",', f'id = "{who}", channels = ["mailto:{who}@staff.example"],')
    policy = SHIPPED.read_text("utf-8").replace('acknowledge = "PT4H"', 'acknowledge = "PT3S"')
    (base / "var").mkdir()
    (base / "var" / "directory.toml").write_text(people, encoding="utf-8")
    (base / "var" / "reach.toml").write_text('[post]\nwindow = "PT0S"\nmost_an_hour = 1000\nmorning = ""\n')
    (base / "policy.toml").write_text(policy, encoding="utf-8")


def start(base: Path, mail: MailServer) -> Machine:
    port = free_ports(3)
    log = base / "up.log"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("KEFU_", "TEMPORAL_"))}
    told = {"KEFU_POLICY": str(base / "policy.toml"), "KEFU_SMTP": mail.url, "KEFU_MAIL_FROM": "desk@kefu.example"}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "starter", "up", "--sample", "--data", str(base / "var"), "--port", str(port)],
            stdout=output,
            stderr=output,
            env=clean | told,
        )
    return Machine(process, base / "var", log, port, mail)


async def test_a_newcomers_complaint_goes_to_the_archive_on_a_fresh_machine(machine: Machine):
    await machine.ready()
    with machine.at_the_door("oa-sh01") as store, machine.at_the_door("lin") as lin:
        received = store.get("/api/cases").json()["items"][0]["opened_at"]
        opened = store.post("/api/cases/complaint", json=CASE | {"received_at": received})
        assert opened.status_code == 201, opened.text
        case = opened.json()["case"]
        for form, body in FORMS.items():
            answer = lin.post(f"/api/cases/complaint/{case}/{form}", json=body)
            assert answer.status_code == 200, answer.text
        assert lin.get(f"/api/cases/{case}").json()["state"] == "archived"


async def test_the_one_received_25_hours_ago_has_escalated_to_the_manager_once(machine: Machine):
    await machine.ready()
    with machine.at_the_door("wang") as wang:
        [case] = wang.get("/api/cases", params={"q": "YL-0001"}).json()["items"]
        notices = wang.get("/api/notices").json()["items"]
    assert [(notice["what"], notice["task"]) for notice in notices if notice["case"] == case["case"]] == [
        ("overdue", "reply")
    ]


async def test_a_canary_is_opened_beside_them(machine: Machine):
    def is_there() -> bool:
        with machine.at_the_door("admin") as admin:
            return bool(admin.get("/api/cases", params={"process": "canary"}).json()["items"])

    await eventually(is_there, within=60)


async def test_a_neglected_complaint_is_mailed_to_its_owner_the_manager_his_deputy_and_the_director_each_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
):
    """Received 25 hours ago, so owner and manager hear at once; he goes away without a word."""
    await machine.ready()
    neglected = CASE | {"form_no": "OA-neglected", "received_at": (datetime.now(UTC) - 25 * HOUR).isoformat()}
    breach, climb = ("您经办的回复已逾期", "经办人 林晓，请跟进"), ("王经理 未确认知悉", "赵敏 未确认知悉")

    def mailed(*said: str) -> list[str]:
        return [who for who, _ in machine.mail.about("OA-neglected", *said)]

    with machine.at_the_door("oa-sh01") as store, machine.at_the_door("admin") as admin:
        opened = store.post("/api/cases/complaint", json=neglected)
        assert opened.status_code in (201, 202), opened.text
        await eventually(lambda: "wang" in mailed(*breach), within=60)
        now = datetime.now(UTC)
        away = {"person": "wang", "since": now.isoformat(), "until": (now + DAY).isoformat(), "deputy": "zhao"}
        assert admin.post("/api/organisation/absences", json=away).status_code == 201
    await eventually(lambda: "sun" in mailed(*climb) and "lin" in mailed(*breach), within=60)
    assert mailed(breach[0]) == ["lin"]
    assert mailed(breach[1], *climb) == ["wang", "zhao", "sun"], "each once, in the order of the line"
    monkeypatch.setenv("KEFU_POLICY", str(machine.data.parent / "policy.toml"))
    monkeypatch.delenv("KEFU_DATABASE_URL", raising=False)  # the machine keeps its own
    words = ["show", opened.json()["case"], "--as", "sun", "--json", "--data", str(machine.data)]
    shown = await asyncio.to_thread(CliRunner().invoke, app, words)
    timeline = json.loads(shown.stdout)["timeline"]
    assert [(one["kind"], one["told"]) for one in timeline if one["kind"] in ("escalated", "climbed")] == [
        ("escalated", ["lin", "wang"]),
        ("climbed", ["zhao"]),
        ("climbed", ["sun"]),
    ]


async def test_every_row_of_the_sample_is_a_case(machine: Machine):
    await machine.ready()
    with machine.at_the_door("wang") as wang:
        numbers = {item["number"] for item in wang.get("/api/cases", params={"limit": 200}).json()["items"]}
    assert {row.form_no for row in sample.rows()} <= numbers


@pytest.mark.parametrize("part", ["worker", "server", "relay", "api"])
async def test_a_part_that_is_killed_comes_back_and_the_desk_goes_on(machine: Machine, part: str):
    await machine.ready()
    before = machine.pid_of(part)
    os.kill(before, signal.SIGKILL)
    await eventually(lambda: machine.pid_of(part) != before, within=30)
    number = f"OA-{part}"

    def taken() -> bool:
        try:
            with machine.at_the_door("oa-sh01") as store:
                received = store.get("/api/cases", params={"q": "YL-0001"}).json()["items"][0]["opened_at"]
                answer = store.post("/api/cases/complaint", json=CASE | {"form_no": number, "received_at": received})
        except (ConnectError, ReadTimeout, RemoteProtocolError):
            return False
        assert answer.status_code in (200, 201, 202), answer.text
        owed = {task["task"] for task in answer.json()["tasks"] if not task["by_itself"]}
        return owed == {"reply", "solution", "callback"}

    await eventually(taken, within=60)


async def test_nothing_personal_is_outside_the_sealed_columns(machine: Machine):
    await machine.ready()
    words = private_words() | {f"{who}@staff.example" for who in HEAR}
    assert len(words) > 50
    everything = [file for file in machine.data.rglob("*") if file.is_file()] + [machine.log]
    files = [file for file in everything if file.name != "directory.toml"]  # names of stores, which a text may hold
    assert {"ledger.db", "temporal.db"} <= {file.name for file in files}
    found = {
        (file.name, word)
        for file in files
        for word in words
        if word.encode() in (content := file.read_bytes()) or json.dumps(word).strip('"').encode() in content
    }
    assert found == set()


def private_words() -> set[str]:
    """Every name, number and text of the sample and of this story."""
    rows = tomllib.loads(sample.FILE.read_text("utf-8"))["submission"] + [CASE | {"forms": list(FORMS.values())}]
    words: set[str] = set()
    for row in rows:
        sent = [row["content"], row.get("demand"), *row["customer"].values()]
        forms = [value for form in row.get("forms", []) for name, value in form.items() if name not in ("form", "by")]
        words |= {str(text) for text in [*sent, *forms] if text and is_private(str(text))}
    return words


def is_private(text: str) -> bool:
    return bool(re.search(r"[\u4e00-\u9fff]|\d{5}", text)) and len(text) > 2


async def test_told_to_stop_it_stops_everything_and_starts_again_where_it_was(machine: Machine):
    await machine.ready()
    parts = [machine.pid_of(part) for part in ("server", "worker", "relay", "api")]
    machine.process.send_signal(signal.SIGTERM)
    assert machine.process.wait(60) == 0, machine.log.read_text()
    assert [pid for pid in parts if is_alive(pid)] == []
    machine.log.unlink()
    again = start(machine.data.parent, machine.mail)
    try:
        await again.ready()
        with again.at_the_door("wang") as wang:
            [case] = wang.get("/api/cases", params={"q": "YL-0001"}).json()["items"]
            heard = [n for n in wang.get("/api/notices").json()["items"] if n["case"] == case["case"]]
        assert len(heard) == 1
    finally:
        again.process.terminate()
        assert again.process.wait(60) == 0


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True

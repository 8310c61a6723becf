"""Who hears of what outside: real mail servers on loopback, a ledger, and a clock that is passed in."""

import json
import os
import random
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pydantic import SecretStr
from sqlmodel import select

from activities import schema
from activities.reach import BadReach, read_reach
from models.people import Person
from models.reach import PostRules, Reachable, kind_of
from models.tables import AlarmRow, CaseRow, DeliveryRow, NoticeRow, TaskRow
from settings import House, Settings
from starter.post.morning import Morning
from starter.post.sender import Sender
from starter.watching.postwatch import PostWatch
from tests.conftest import KEYS
from tests.letterbox import NOON, Clock, MailServer, mail_server, post_of, tell
from tests.office import DAY, HOUR, Office, eventually, organised
from tests.test_bent_complaints import HANDLED
from tests.test_readme import blocks, section

MINUTE = timedelta(minutes=1)
REACHED: dict[str, dict[str, Any]] = {
    "lin": {"channels": ["mailto:lin@example.com"]},
    "chen": {"channels": ["mailto:chen@example.com"], "language": "en"},
    "wang": {"channels": ["mailto:wang@example.com"], "quiet": "22:00-07:00"},
    "admin": {"channels": ["mailto:admin@example.com"]},
    "oa-sh01": {"channels": ["mailto:sh01@example.com"]},
}


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


def house_with(
    tmp_path: Path, mail: MailServer, reached: dict[str, dict[str, Any]] = REACHED, reach: str = "", **settings: Any
) -> House:
    data = tmp_path / "var"
    data.mkdir(exist_ok=True)
    (data / "reach.toml").write_text(reach, encoding="utf-8")
    house = House(
        Settings(data=data, keys=SecretStr(KEYS), smtp=SecretStr(mail.url), mail_from="desk@kefu.example", **settings)
    )
    schema.upgrade(house.database)
    organised(house, NOON, **reached)
    return house


@pytest.fixture
def house(tmp_path: Path, mail: MailServer) -> Iterator[House]:
    house = house_with(tmp_path, mail, link="https://kefu.example/")
    yield house
    house.database.close()


@pytest.fixture
def sender(house: House, clock: Clock) -> Sender:
    return Sender(house, clock)


def deliveries(house: House, *where: Any) -> list[DeliveryRow]:
    with house.database.reading() as session:
        return list(session.exec(select(DeliveryRow).where(*where).order_by(DeliveryRow.id)))


def remind(house: House, at: datetime, person: str = "lin", times: int = 1) -> list[int]:
    """Notices that are not urgent."""
    return tell(house, at, person, "extended", times, data={"due_at": at.isoformat()})


# What it says


async def test_a_neglected_complaint_is_mailed_to_its_owner_and_the_manager_once(office: Office, mail: MailServer):
    office.organise(**REACHED)
    post = post_of(office, mail, link="https://kefu.example")
    case = await office.open()
    await office.pass_time(DAY + MINUTE)
    while post.round().sorted or deliveries(office.house, DeliveryRow.state == "waiting"):
        await office.pass_time(2 * MINUTE)
        post.round()
    [overdue] = [text for text in mail.texts("wang@example.com") if "回复已逾期" in text]
    number = office.case(case).number
    assert number in overdue
    assert "林晓" in overdue
    assert f"https://kefu.example/cases/{case}" in overdue
    assert [text for text in mail.texts("lin@example.com") if "您经办的回复已逾期" in text]
    everything = "".join(str(message) for box in mail.boxes.values() for message in box)
    everything += "".join(text for box in mail.boxes for text in mail.texts(box))
    assert [secret for secret in ("张小红", "13800000001", "跑绒") if secret in everything] == []
    for box in mail.boxes:
        assert set(mail.notices(box).values()) == {1}


def test_who_reads_english_is_written_to_in_english(house: House, sender: Sender, clock: Clock, mail: MailServer):
    tell(house, clock(), "chen")
    sender.round()
    [message] = mail.boxes["chen@example.com"]
    assert message["Subject"] == "[Kefu] major complaint"
    assert "Please look at it now" in message.get_content()
    assert message["Auto-Submitted"] == "auto-generated"


async def test_a_letter_to_a_store_goes_the_same_way(office: Office, mail: MailServer):
    """Its form came back to it: it hears so, is reminded of what is missing, and hears when that is overdue."""
    office.organise(**REACHED)
    post = post_of(office, mail)
    case = await office.open(origin="store", store_handling=HANDLED, customer={})
    post.round()
    for _ in range(2):
        await office.pass_time(DAY + MINUTE)
        post.round()
    said = ("新工单", "补充将于", "您经办的门店补充已逾期")
    assert mail.about(office.case(case).number, *said) == [("sh01", one) for one in said]


def test_who_has_no_channel_hears_in_his_inbox_and_nothing_waits(house: House, sender: Sender, clock: Clock):
    tell(house, clock(), "zhao")
    sender.round()
    [row] = deliveries(house)
    assert (row.state, row.channel) == ("inbox", "inbox")


def test_a_channel_that_is_changed_meanwhile_is_the_one_that_what_waits_goes_over(
    house: House, sender: Sender, clock: Clock, mail: MailServer, peer: Any
):
    mail.close()
    tell(house, clock())
    sender.round()
    organised(house, clock(), **REACHED | {"lin": {"channels": [f"json://127.0.0.1:{peer.server_port}/hook"]}})
    clock.pass_time(MINUTE)
    sender.round()
    assert [(row.channel, row.state) for row in deliveries(house)] == [("json", "delivered")]
    assert len(Peer.kept) == 1


# Once, and not at midnight


def test_many_at_once_for_one_person_become_a_digest(house: House, sender: Sender, clock: Clock, mail: MailServer):
    remind(house, clock(), times=30)
    clock.pass_time(MINUTE)
    sender.round()
    [digest] = mail.boxes["lin@example.com"]
    assert digest["Subject"] == "【客服】30 条消息"
    assert len(mail.notices("lin@example.com")) == 30


def test_what_comes_within_the_window_waits_for_its_end_and_goes_together(
    house: House, sender: Sender, clock: Clock, mail: MailServer
):
    for _ in range(4):
        remind(house, clock())
        sender.round()
        clock.pass_time(timedelta(seconds=10))
    assert len(mail.boxes["lin@example.com"]) == 1
    clock.pass_time(MINUTE)
    sender.round()
    assert [len(set(map(int, found))) for found in [mail.notices("lin@example.com")]] == [4]
    assert len(mail.boxes["lin@example.com"]) == 2


def test_no_more_than_so_many_an_hour_and_the_rest_later(tmp_path: Path, mail: MailServer, clock: Clock):
    house = house_with(tmp_path, mail, reach="[post]\nmost_an_hour = 3\n")
    sender = Sender(house, clock)
    began = clock()
    while clock() < began + HOUR:
        remind(house, clock())
        sender.round()
        clock.pass_time(5 * MINUTE)
    assert len(mail.boxes["lin@example.com"]) == 3
    tell(house, clock(), what="major")
    sender.round()
    assert len(mail.boxes["lin@example.com"]) == 4, "what is urgent waits for nothing"
    clock.pass_time(HOUR)
    sender.round()
    assert set(mail.notices("lin@example.com").values()) == {1}
    assert len(mail.notices("lin@example.com")) == 13
    house.database.close()


def test_quiet_hours_hold_a_reminder_until_the_morning(house: House, sender: Sender, clock: Clock, mail: MailServer):
    clock.at = datetime(2026, 11, 23, 15, 30, tzinfo=UTC)  # 23:30 in Shanghai
    remind(house, clock(), "wang")
    sender.round()
    assert not mail.boxes["wang@example.com"]
    clock.at = datetime(2026, 11, 23, 23, 0, tzinfo=UTC)
    sender.round()
    assert len(mail.boxes["wang@example.com"]) == 1


@pytest.mark.parametrize(("severity", "heard"), [("major", True), ("ordinary", False)])
async def test_quiet_hours_never_hold_the_last_rung_of_a_major_case(
    office: Office, mail: MailServer, severity: str, heard: bool
):
    """The director is the last to hear of a reply, a day after the manager; at that hour he sleeps."""
    sleeps = (office.now() + 2 * DAY).astimezone(office.house.calendar)
    quiet = f"{sleeps - HOUR:%H:%M}-{sleeps + HOUR:%H:%M}"
    office.organise(sun={"channels": ["mailto:sun@example.com"], "quiet": quiet})
    post = post_of(office, mail)
    case = await office.open(severity=severity)
    await office.pass_time(DAY + MINUTE)
    await office.hand_in(case, "acknowledge", by="wang", rung="reply")
    await office.pass_time(DAY)
    assert "overdue/reply" in office.heard(case, "sun")
    post.round()
    assert bool(mail.boxes["sun@example.com"]) == heard
    await office.pass_time(2 * HOUR)
    post.round()
    assert len(mail.boxes["sun@example.com"]) == 1


def test_a_reminder_of_what_is_done_by_then_is_not_sent(house: House, sender: Sender, clock: Clock, mail: MailServer):
    with house.database.writing() as session:
        known = {"process": "complaint", "number": "OA-1", "opened_at": clock(), "last_instant": clock()}
        session.add(CaseRow(id="complaint-1", promises={}, **known))
        session.flush()
        owed = {"owner_role": "specialist", "owner": "lin", "owed_at": clock(), "due_at": clock(), "due_because": {}}
        session.add(TaskRow(case_id="complaint-1", key="reply", form="reply", state="done", **owed))
    tell(
        house,
        clock(),
        what="reminder",
        key="complaint-1/reply/0/0",
        case_id="complaint-1",
        task="reply",
        data={"due_at": clock().isoformat()},
    )
    sender.round()
    assert not mail.boxes["lin@example.com"]
    assert [row.state for row in deliveries(house)] == ["outdated"]


# What goes wrong


def test_a_channel_that_refuses_three_calls_in_ten_delivers_everything_once(
    house: House, sender: Sender, clock: Clock, mail: MailServer
):
    chance = random.Random(5)
    mail.at_data = lambda _to: "451 later" if chance.random() < 0.3 else "250 OK"
    told = tell(house, clock(), times=60)
    for _ in range(30):
        sender.round()
        clock.pass_time(MINUTE)
    assert mail.notices("lin@example.com") == dict.fromkeys(told, 1)
    assert mail.notices("lin@example.com", doubtful=True) == {}
    assert max(row.attempts for row in deliveries(house)) > 1


def test_a_mail_server_that_is_down_for_an_hour_delays_notices_and_loses_none(
    house: House, sender: Sender, clock: Clock, mail: MailServer
):
    mail.close()
    began, told = clock(), []
    while clock() < began + HOUR:
        told += tell(house, clock())
        sender.round()
        clock.pass_time(3 * MINUTE)
    watch = PostWatch(house.database, house.people, clock)
    assert "channel_down" in [finding.kind for finding in watch.round()]
    assert not mail.boxes["lin@example.com"]
    mail.open()
    clock.pass_time(MINUTE)
    sender.round()
    assert mail.notices("lin@example.com") == dict.fromkeys(told, 1), "all of it as soon as the server is back"
    assert "channel_down" not in [finding.kind for finding in watch.round()]


def test_what_a_channel_will_never_take_goes_over_the_next_and_the_administrator_hears(
    tmp_path: Path, mail: MailServer, clock: Clock
):
    zhao = {"channels": ["mailto:gone@example.com", "mailto:zhao@example.com"]}
    house = house_with(tmp_path, mail, REACHED | {"zhao": zhao})
    mail.at_recipient = lambda to: "550 nobody" if to.startswith("gone") else "250 OK"
    sender, watch = Sender(house, clock), PostWatch(house.database, house.people, clock)
    tell(house, clock(), "zhao")
    sender.round()
    assert len(mail.boxes["zhao@example.com"]) == 1
    assert [(row.rank, row.state, row.failed) for row in deliveries(house)] == [
        (0, "undeliverable", "recipient_550"),
        (1, "delivered", None),
    ]
    [finding] = watch.round()
    assert finding.kind == "notice_undeliverable"
    sender.round()
    assert "送不到" in mail.texts("admin@example.com")[0]
    house.database.close()


def test_a_channel_is_given_up_only_when_patience_ends(house: House, sender: Sender, clock: Clock, mail: MailServer):
    mail.at_recipient = lambda _to: "450 greylisted"
    tell(house, clock())
    began = clock()
    while deliveries(house, DeliveryRow.state == "waiting") or clock() == began:
        sender.round()
        clock.pass_time(5 * MINUTE)
    assert 4 * HOUR <= clock() - began <= 4 * HOUR + 30 * MINUTE
    [row] = deliveries(house)
    assert (row.state, row.failed) == ("undeliverable", "recipient_450")


def test_a_connection_that_breaks_after_the_message_leaves_a_doubt_that_is_said(
    house: House, sender: Sender, clock: Clock, mail: MailServer
):
    """The server has the message and dies before it can say so."""
    mail.at_data = lambda _to: "250 OK"
    told = tell(house, clock())
    parcel = sender.next() if sender.sort() else None
    assert parcel
    sender.hand_over(parcel)  # accepted; and here the process is killed: nobody settles
    clock.pass_time(timedelta(minutes=4))
    other = Sender(house, clock)
    other.round()
    first, second = mail.boxes["lin@example.com"]
    assert first["Message-ID"] == second["Message-ID"]
    assert first["X-Kefu-Possible-Duplicate"] is None
    assert second["X-Kefu-Possible-Duplicate"] == "yes"
    assert "可能重复" in second.get_content()
    assert mail.notices("lin@example.com") == {told[0]: 2}
    assert [row.doubtful for row in deliveries(house)] == [True]


def test_two_senders_side_by_side_send_everything_once(house: House, clock: Clock, mail: MailServer):
    told = {person: tell(house, clock(), person, times=20) for person in ("lin", "chen", "wang")}
    threads = [Thread(target=Sender(house, clock).round) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for person, notices in told.items():
        sent = mail.texts(f"{person}@example.com")
        assert len(sent) == len(notices)
    assert {row.attempts for row in deliveries(house)} == {1}


@pytest.mark.sqlite
async def test_a_post_room_that_is_killed_again_and_again_loses_nothing(tmp_path: Path, mail: MailServer):
    """500 notices at once, to five people, urgent and not; `kefu post` is killed (-9) twice meanwhile."""
    people = [f"p{n}@example.com" for n in range(5)]
    named = dict(zip(("lin", "chen", "zhao", "wang", "sun"), people, strict=True))
    reached = {person: {"channels": [f"mailto:{address}"]} for person, address in named.items()}
    house = house_with(tmp_path, mail, reached, "[post]\nmorning = ''\nwindow = 'PT0S'\nmost_an_hour = 100000\n")
    now = datetime.now(UTC)
    told = {
        address: tell(house, now, person, times=20) + remind(house, now, person, times=80)
        for person, address in named.items()
    }
    environment = {
        **os.environ,
        "KEFU_DATA": str(house.settings.data),
        "KEFU_KEYS": KEYS,
        "KEFU_SMTP": mail.url,
        "KEFU_MAIL_FROM": "desk@kefu.example",
    }
    chance = random.Random(3)

    def in_all() -> int:
        return sum(len(box) for box in mail.boxes.values())

    for _ in range(2):
        before, enough = in_all(), chance.randint(5, 25)
        with subprocess.Popen([sys.executable, "-m", "starter", "post"], env=environment) as room:  # noqa: ASYNC220
            await eventually(lambda before=before, enough=enough: in_all() >= before + enough, within=30)
            room.kill()
    assert deliveries(house, DeliveryRow.state == "waiting"), "it was killed in the middle"
    later = Clock(datetime.now(UTC) + timedelta(minutes=5))
    Sender(house, later).round()
    for address, notices in told.items():
        assert set(mail.notices(address)) == set(notices), "none is missing"
        assert set(mail.notices(address, doubtful=False).values()) == {1}, "unmarked, each is there once"
        assert set(mail.notices(address).values()) <= {1, 2}
    doubled = sum(len(mail.notices(address, doubtful=True)) for address in people)
    assert 0 < doubled < 500, "what was in hand when it was killed, and no more"
    house.database.close()


# Messengers


class Peer(BaseHTTPRequestHandler):
    """Plays the interface of a messenger: says what it is told to, and keeps what it was sent."""

    answers: dict[str, Any] = {}
    kept: list[tuple[str, Any, dict[str, str]]] = []

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: Any) -> None:
        path = self.path.partition("?")[0]
        self.kept.append((self.path, body, dict(self.headers)))
        said = json.dumps(self.answers.get(path, {})).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def peer() -> Iterator[Any]:
    Peer.kept, Peer.answers = [], {}
    with ThreadingHTTPServer(("127.0.0.1", 0), Peer) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


ACCOUNTS = """
[wecom]
corp = "c"
agent = 7
secret = "s"
api = "{api}"
[dingtalk]
app_key = "k"
app_secret = "s"
agent = 8
api = "{api}"
[feishu]
app_id = "i"
app_secret = "s"
api = "{api}"
[sms]
access_key = "a"
access_secret = "s"
signature = "客服"
template = "SMS_1"
api = "{api}"
"""
TOKENS = {
    "/cgi-bin/gettoken": {"errcode": 0, "access_token": "T", "expires_in": 7200},
    "/gettoken": {"errcode": 0, "access_token": "T", "expires_in": 7200},
    "/open-apis/auth/v3/tenant_access_token/internal": {"code": 0, "tenant_access_token": "T", "expire": 7200},
}
SEND = {
    "wecom": ("/cgi-bin/message/send", {"errcode": 0}, {"errcode": 60111}),
    "dingtalk": ("/topapi/message/corpconversation/asyncsend_v2", {"errcode": 0}, {"errcode": 33012}),
    "feishu": ("/open-apis/im/v1/messages", {"code": 0}, {"code": 230013}),
    "sms": ("/", {"Code": "OK"}, {"Code": "isv.MOBILE_NUMBER_ILLEGAL"}),
}


def over(channel: str, tmp_path: Path, mail: MailServer, peer: Any) -> House:
    api = f"http://127.0.0.1:{peer.server_port}"
    return house_with(tmp_path, mail, {"lin": {"channels": [f"{channel}:lin007"]}}, ACCOUNTS.format(api=api))


@pytest.mark.parametrize("channel", SEND)
def test_a_messenger_takes_a_message_to_the_one_person(
    tmp_path: Path, mail: MailServer, peer: Any, clock: Clock, channel: str
):
    path, taken, nobody = SEND[channel]
    house = over(channel, tmp_path, mail, peer)
    sender = Sender(house, clock)
    Peer.answers = TOKENS | {path: taken}
    tell(house, clock())
    sender.round()
    [row] = deliveries(house)
    assert row.state == "delivered"
    sent = str([(place, body) for place, body, _ in Peer.kept if place.startswith(path)][-1])
    assert "lin007" in sent
    if channel == "sms":
        assert "重大客诉，请即关注" not in sent, "no free text"
        assert "OutId" in sent
    else:
        assert "重大客诉" in json.loads(f'"{sent}"') if "\\u" in sent else "重大客诉" in sent
    Peer.answers[path] = nobody
    tell(house, clock() + MINUTE)
    sender.round()
    assert deliveries(house)[-1].state == "undeliverable"
    house.database.close()


def test_a_webhook_gets_the_key_under_which_it_may_drop_a_duplicate(
    tmp_path: Path, mail: MailServer, peer: Any, clock: Clock
):
    house = house_with(tmp_path, mail, {"lin": {"channels": [f"json://127.0.0.1:{peer.server_port}/hook"]}})
    tell(house, clock())
    Sender(house, clock).round()
    [(path, body, headers)] = Peer.kept
    [row] = deliveries(house)
    assert (path, row.state, headers["Idempotency-Key"]) == ("/hook", "delivered", row.parcel)
    assert "重大客诉" in body["message"]
    house.database.close()


# The morning


async def test_the_manager_hears_every_morning_once_what_is_due_and_whose(office: Office, mail: MailServer):
    await office.open()
    await office.open()
    clock = Clock(office.now().astimezone(office.house.calendar).replace(hour=8, minute=29) + 2 * DAY)
    assert not Morning(office.house, clock).round()
    clock.pass_time(MINUTE)
    for _ in range(3):
        Morning(office.house, clock).round()  # as after a restart
    with office.house.database.reading() as session:
        [notice] = session.exec(select(NoticeRow).where(NoticeRow.what == "morning"))
    assert (notice.person, set(notice.data["owners"])) == ("wang", {"lin"})
    async with office.api("wang") as door:
        shown = (await door.get("/api/notices")).json()["items"][0]["text"]
    assert "林晓：到期" in shown
    clock.pass_time(DAY)
    assert Morning(office.house, clock).round()


def test_a_group_hears_how_many_and_nothing_of_anybody(tmp_path: Path, mail: MailServer, peer: Any, clock: Clock):
    reach = f'[groups.desk]\nchannels = ["json://127.0.0.1:{peer.server_port}/bot"]\n'
    house = house_with(tmp_path, mail, reach=reach)
    Morning(house, clock).round()
    Sender(house, clock).round()
    [(_, body, _)] = Peer.kept
    assert body["message"] == "今日到期 0 项，已逾期 0 项。"
    house.database.close()


# Doors


async def test_where_a_notice_went_is_shown_to_its_reader_and_to_nobody_else(office: Office, mail: MailServer):
    office.organise(**REACHED)
    await office.open()
    post_of(office, mail).round()
    async with office.api("lin") as door, office.api("chen") as other, office.api("admin") as admin:
        [notice] = (await door.get("/api/notices")).json()["items"]
        [went] = (await door.get(f"/api/notices/{notice['id']}/deliveries")).json()
        assert (went["channel"], went["state"], went["possible_duplicate"]) == ("email", "delivered", False)
        assert went["delivered_at"]
        assert (await other.get(f"/api/notices/{notice['id']}/deliveries")).status_code == 404
        assert (await other.get("/api/post")).status_code == 403
        lines = (await admin.get("/api/post", params={"person": "lin"})).json()["items"]
        assert "example.com" not in str(lines)
        first = (await admin.get("/api/post", params={"limit": 3})).json()
        assert (len(first["items"]), first["more"]) == (3, len(office.house.people.people) - 3)


# Bad input


def test_the_files_of_the_readme_can_be_used(tmp_path: Path):
    [shown] = blocks(section("Who hears of what, and how"), "toml")
    file = tmp_path / "reach.toml"
    file.write_text(shown, encoding="utf-8")
    assert read_reach(file).post == PostRules()
    [person] = tomllib.loads(blocks(section("Who works here, and who acts when nobody answers"), "toml")[0])["people"]
    assert [kind_of(one.get_secret_value()) for one in Person(**person).channels] == ["wecom", "email"]


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ('[people.lin]\nchannels = ["mailto:secret@example.com"]', "the person in the organisation"),
        ('[groups.desk]\nchannels = ["secret"]', "groups.desk.channels.0"),
        ('[groups.desk]\nchannels = []\nphone = "secret"', "groups.desk.phone"),
        ('[post]\nmorning = "noon"', "post.morning"),
        ('[wecom]\ncorp = "c"\nsecret = "secret"', "wecom.agent"),
    ],
)
def test_a_file_that_does_not_hold_is_refused_with_the_place_and_without_the_address(
    tmp_path: Path, bad: str, named: str
):
    file = tmp_path / "reach.toml"
    file.write_text(bad)
    with pytest.raises(BadReach) as refused:
        read_reach(file)
    assert named in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("hour", "awake"), [("21:59", "21:59"), ("22:00", "07:00"), ("03:00", "07:00"), ("07:00", "07:00")]
)
def test_quiet_hours_go_over_midnight(house: House, hour: str, awake: str):
    here = datetime.fromisoformat(f"2026-11-23T{hour}+08:00")
    assert f"{Reachable(quiet='22:00-07:00').awake_at(here, house.calendar).astimezone(house.calendar):%H:%M}" == awake


def test_when_nobody_sends_the_administrator_hears(house: House, sender: Sender, clock: Clock):
    sender.round()
    watch = PostWatch(house.database, house.people, clock)
    assert watch.round() == []
    clock.pass_time(2 * MINUTE)
    assert [finding.kind for finding in watch.round()] == ["post_stands_still"]
    clock.pass_time(MINUTE)
    sender.round()
    assert watch.round() == []
    with house.database.reading() as session:
        assert [row.cleared_at is None for row in session.exec(select(AlarmRow))] == [False]


def test_what_was_told_long_before_the_first_opening_stays_in_the_inbox(
    house: House, sender: Sender, clock: Clock, mail: MailServer
):
    tell(house, clock() - 3 * DAY, times=5)
    told = tell(house, clock() - HOUR)
    sender.round()
    assert mail.notices("lin@example.com") == {told[0]: 1}

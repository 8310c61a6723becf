"""The canary and the bell: a desk that escalates nothing any more is heard of, past the engine and the post; and one that
escalates bothers nobody."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlmodel import col, select

from activities import schema
from models import policy
from models.canary import CANARY, WATCH
from models.tables import AlarmRow, CaseRow, DeadlineRow, EventRow, NoticeRow, SubmissionRow, TaskRow
from settings import House, Settings
from starter import relay
from starter.post.sender import Sender
from starter.submissions import Submissions
from starter.watching import watch
from starter.watching.bell import AGAIN_AFTER, Bell
from starter.watching.canary import KEPT, SILENT, CanaryWatch
from starter.watching.doctor import Ward
from starter.watching.metrics import exposition
from starter.watching.postwatch import STANDS, PostWatch
from tests.conftest import KEYS
from tests.letterbox import NOON, Clock, MailServer, mail_server
from tests.office import DAY, Office, connected, eventually, organised
from tests.singing import a_canary_is_heard, canaries

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
OPS, DUTY = "ops@example.com", "duty@example.com"
REACH = f'[watch]\nchannels = ["mailto:{OPS}"]\n'
ON, OVER = "【客服】系统告警", "【客服】系统告警已解除"


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


def house_with(tmp_path: Path, mail: MailServer, reach: str = REACH, **numbers: str) -> House:
    """A house with a mail server, whose canary has other numbers than the shipped ones."""
    data, file = tmp_path / "var", tmp_path / "policy.toml"
    data.mkdir()
    (data / "reach.toml").write_text(reach, encoding="utf-8")
    before, section = policy.SHIPPED.read_text(encoding="utf-8").split("[canary.intake]")
    shipped = {"every": "PT10M", "bound": "PT60S", "within": "PT30S"}
    for name, number in numbers.items():
        assert f'{name} = "{shipped[name]}"' in section
        section = section.replace(f'{name} = "{shipped[name]}"', f'{name} = "{number}"')
    file.write_text(f"{before}[canary.intake]{section}", encoding="utf-8")
    settings = {"smtp": SecretStr(mail.url), "mail_from": "desk@kefu.example", "policy": file}
    house = House(Settings(data=data, keys=SecretStr(KEYS), **settings))
    schema.upgrade(house.database)
    organised(house, NOON, admin={"channels": ["mailto:admin@example.com"]})
    return house


@pytest.fixture
def house(tmp_path: Path, mail: MailServer) -> Iterator[House]:
    house = house_with(tmp_path, mail)
    yield house
    house.database.close()


def alarms(house: House) -> list[AlarmRow]:
    with house.database.reading() as session:
        return list(session.exec(select(AlarmRow).order_by(col(AlarmRow.id))))


def subjects(mail: MailServer, to: str = OPS) -> list[str]:
    return [message["Subject"] for message in mail.boxes[to]]


# It sings


async def test_a_canary_escalates_and_is_over_and_the_next_turn_has_another(office: Office):
    first = await a_canary_is_heard(office)
    [rung] = office.fired(first, "heard")
    assert rung.fired_at - rung.planned_at < 5 * SECOND
    assert [event.kind for event in office.events(first)] == ["opened", "owed", "escalated", "done", "archived"]
    office.front.canary_watch.round()
    assert len(canaries(office.house)) == 1, "its turn is not over"
    await office.pass_time(10 * MINUTE)
    second = await a_canary_is_heard(office)
    assert first != second
    assert alarms(office.house) == []


async def test_it_bothers_nobody_and_counts_as_nothing(office: Office):
    office.front.watchdog.round()
    case = await a_canary_is_heard(office)
    office.front.canary_watch.round()
    office.front.watchdog.round()
    heard = office.rows(NoticeRow, case)
    assert {row.person for row in heard} == {"system"}
    async with office.api() as door:
        for reader in ("wang", "lin", "sun", "oa-sh01", "admin"):
            for place in ("cases", "tasks", "notices"):
                shown = await door.get(f"/api/{place}", headers={"X-Kefu-Actor": reader})
                assert shown.json()["items"] == [], (reader, place)
        asked = await door.get("/api/cases", params={"process": "canary"})
        assert [item["case"] for item in asked.json()["items"]] == [case], "who asks for them sees them"
    with office.house.database.reading() as session:
        found = Ward(session, office.now() - DAY, office.now() + DAY, office.now(), MINUTE).examined()
    assert found.faults == []
    assert (found.cases, found.submissions, found.rungs, found.cases_due_soon) == (0, 0, {}, 0)
    assert (found.fired.count, found.overdue.count) == (0, 0)
    metrics = exposition(office.house.database, office.now).decode()
    assert 'kefu_cases{state="archived"} 0.0' in metrics
    assert "kefu_rung_lateness_seconds_gcount 0.0" in metrics


async def test_nobody_opens_one_or_ends_one(office: Office):
    async with office.api("admin") as door:
        assert (await door.post("/api/cases/canary", json={"turn": "now"})).status_code == 403
        assert (await door.post("/api/cases/canary/canary-0123456789/heard", json={})).status_code == 404


async def test_old_canaries_are_forgotten_whole_and_one_that_an_alarm_names_is_not(office: Office):
    case = await a_canary_is_heard(office)
    await office.pass_time(10 * MINUTE)
    named = await a_canary_is_heard(office)
    with office.house.database.writing() as session:
        at = {"since": office.now(), "raised_at": office.now(), "cleared_at": office.now()}
        session.add(AlarmRow(key=f"{SILENT}/{named}", kind=SILENT, case_id=named, data={}, **at))
    complaint = await office.open()
    Sender(office.house, office.now).sort()
    await office.pass_time(KEPT - 12 * MINUTE)
    office.front.canary_watch._forget()
    assert {row.id for row in canaries(office.house)} == {case, named}
    await office.pass_time(12 * MINUTE)
    office.front.canary_watch._forget()
    assert {row.id for row in canaries(office.house)} == {named}
    for table in (SubmissionRow, EventRow, TaskRow, DeadlineRow, NoticeRow):
        assert office.rows(table, case) == []
        assert office.rows(table, complaint)


# It is silent


@pytest.fixture
async def hurried(engine: str, tmp_path: Path, mail: MailServer) -> AsyncIterator[Office]:
    """An office on the real server whose canary is due within a second, and nobody at work."""
    house = house_with(tmp_path, mail, every="PT1S", bound="PT1S", within="PT1S")
    async with Office(await connected(engine, house), house) as office:
        yield office
    house.database.close()


async def test_without_a_worker_the_alarm_goes_past_engine_and_post_and_its_end_too(
    hurried: Office, mail: MailServer, monkeypatch: pytest.MonkeyPatch
):
    """Nobody sends notices here: the post is dead as well."""
    monkeypatch.setattr(CanaryWatch, "every", SECOND / 2)
    monkeypatch.setattr(Bell, "every", SECOND / 2)
    monkeypatch.setattr(relay, "SEND_WITHIN", 2 * SECOND)
    front = hurried.front
    others = [front.canary_watch, front.bell]
    running = [
        asyncio.create_task(watch.watch(front.watchdog, front.reconciler, others)),
        asyncio.create_task(hurried.relay.run()),
    ]
    await eventually(lambda: subjects(mail) == [ON], within=30)
    [silent] = [alarm for alarm in alarms(hurried.house) if alarm.kind == SILENT]
    assert silent.cleared_at is None
    assert silent.since - canaries(hurried.house)[0].opened_at == SECOND, "since when it should have been heard"
    assert len(canaries(hurried.house)) == 1, "while one is silent there is no other"
    async with hurried.api("admin") as door:
        texts = [item["text"] for item in (await door.get("/api/notices")).json()["items"]]
    assert [text for text in texts if "自检工单" in text], "in the inbox all the same"
    assert mail.boxes["admin@example.com"] == []

    await hurried.worker_comes()
    await eventually(lambda: subjects(mail)[:2] == [ON, OVER], within=40)
    await eventually(lambda: len([row for row in canaries(hurried.house) if row.state == "archived"]) >= 2, within=40)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


# The rules of it, by the ledger alone


@pytest.fixture
def watching(house: House, clock: Clock) -> CanaryWatch:
    return CanaryWatch(house, door(house, clock), clock)


def door(house: House, clock: Clock) -> Submissions:
    return Submissions(house.database, house.keys, house.people, clock, house.settings.policy)


def test_it_is_late_a_minute_after_its_due_time_and_told_once(
    house: House, clock: Clock, watching: CanaryWatch, mail: MailServer
):
    bell = Bell(house, clock)
    watching.round()
    clock.pass_time(90 * SECOND)
    assert (watching.round(), bell.round()) == ([], 0)
    clock.pass_time(SECOND)
    [finding] = watching.round()
    assert (finding.kind, finding.since) == (SILENT, clock() - 61 * SECOND)
    assert [bell.round(), bell.round()] == [1, 0]
    for _ in range(20):
        clock.pass_time(MINUTE)
        watching.round()
        assert bell.round() == 0
    assert subjects(mail) == [ON]
    assert "2026-11-23 12:00" in mail.texts(OPS)[0]
    assert len(canaries(house)) == 1


def test_two_watches_open_one_canary_a_turn(house: House, clock: Clock):
    one, other = (CanaryWatch(house, door(house, clock), clock) for _ in range(2))
    one.round()
    other.round()
    assert [row.number for row in canaries(house)] == ["2026-11-23T04:00:00"]
    with house.database.reading() as session:
        assert {row.by for row in session.exec(select(SubmissionRow))} == {WATCH.id}


def test_a_desk_that_was_stopped_for_the_night_was_not_silent(house: House, clock: Clock, watching: CanaryWatch):
    watching.round()
    clock.pass_time(timedelta(hours=9))
    morning = CanaryWatch(house, door(house, clock), clock)
    assert morning.round() == []
    clock.pass_time(61 * SECOND)
    assert [finding.kind for finding in morning.round()] == [SILENT], "and a minute later it is"


def test_none_where_the_policy_wants_none(tmp_path: Path, mail: MailServer, clock: Clock):
    house = house_with(tmp_path, mail, every="PT0S")
    CanaryWatch(house, door(house, clock), clock).round()
    assert canaries(house) == []
    house.database.close()


def test_a_canary_that_would_bother_somebody_is_refused(tmp_path: Path):
    file = tmp_path / "policy.toml"
    told = policy.SHIPPED.read_text(encoding="utf-8").replace('[["PT0S", "system"]]', '[["PT0S", "manager"]]')
    file.write_text(told, encoding="utf-8")
    with pytest.raises(policy.BadPolicy, match="canary's ladder"):
        policy.check([CANARY], file)


# The bell


def test_it_rings_again_until_it_is_taken_and_says_once_that_it_is_over(
    house: House, clock: Clock, watching: CanaryWatch, mail: MailServer
):
    bell = Bell(house, clock)
    watching.round()
    clock.pass_time(2 * MINUTE)
    watching.round()
    mail.close()
    assert bell.round() == 0
    mail.open()
    assert bell.round() == 0, "not at once"
    clock.pass_time(AGAIN_AFTER)
    assert Bell(house, clock).round() == 1, "another one, after the first was killed"
    with house.database.writing() as session:  # it sings
        case = session.exec(select(CaseRow)).one()
        case.state = "archived"
        case.closed_at = clock()
    watching.round()
    assert [alarm.cleared_at for alarm in alarms(house)] == [clock()]
    assert [bell.round(), bell.round()] == [1, 0]
    assert subjects(mail) == [ON, OVER]


def test_what_was_over_before_anybody_heard_of_it_is_not_said(
    house: House, clock: Clock, watching: CanaryWatch, mail: MailServer
):
    bell = Bell(house, clock)
    watching.round()
    clock.pass_time(2 * MINUTE)
    watching.round()
    mail.at_recipient = lambda _to: "450 later"
    bell.round()
    with house.database.writing() as session:
        session.exec(select(CaseRow)).one().state = "archived"
    clock.pass_time(SECOND)
    watching.round()
    mail.at_recipient = lambda _to: "250 OK"
    clock.pass_time(MINUTE)
    assert bell.round() == 0
    assert subjects(mail) == []


def test_every_channel_hears_and_one_that_will_not_holds_up_no_other(tmp_path: Path, mail: MailServer, clock: Clock):
    house = house_with(tmp_path, mail, f'[watch]\nchannels = ["mailto:{DUTY}", "mailto:{OPS}"]\nlanguage = "en"\n')
    watching, bell = CanaryWatch(house, door(house, clock), clock), Bell(house, clock)
    mail.at_recipient = lambda to: "450 later" if to == DUTY else "250 OK"
    watching.round()
    clock.pass_time(2 * MINUTE)
    watching.round()
    assert bell.round() == 1
    mail.at_recipient = lambda _to: "250 OK"
    clock.pass_time(MINUTE)
    assert [bell.round(), bell.round()] == [1, 0]
    assert subjects(mail, DUTY) == subjects(mail, OPS) == ["[Kefu] alarm"]
    house.database.close()


def test_an_alarm_that_may_have_been_heard_says_so(house: House, clock: Clock, watching: CanaryWatch, mail: MailServer):
    bell = Bell(house, clock)
    watching.round()
    clock.pass_time(2 * MINUTE)
    watching.round()
    [alarm] = bell._to_ring()
    stroke = bell._claimed(alarm)
    assert stroke
    bell._hand_over(0, stroke)  # accepted; and killed before it is written
    assert bell._claimed(alarm) is None, "it is in somebody's hands"
    clock.pass_time(AGAIN_AFTER)
    assert bell.round() == 1
    assert ["可能重复" in text for text in mail.texts(OPS)] == [False, True]


def test_a_post_that_stands_still_is_rung_for(house: House, clock: Clock, watching: CanaryWatch, mail: MailServer):
    """Its own alarm would lie in the inbox; so would the canary's."""
    Sender(house, clock).round()
    watching.round()
    clock.pass_time(2 * MINUTE)
    watching.round()
    clock.pass_time(SECOND)
    PostWatch(house.database, house.people, clock).round()
    assert [alarm.kind for alarm in alarms(house)] == [SILENT, STANDS]
    assert Bell(house, clock).round() == 2
    assert subjects(mail) == [ON, ON]
    assert mail.boxes["admin@example.com"] == []

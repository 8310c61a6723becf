"""Acknowledge or climb (handbook D-12, E36): a breach that nobody acknowledges goes up, each hop once, until somebody does."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from models.duty import Absence, Roster
from models.tables import DeadlineRow
from starter.refusals import Forbidden
from tests.letterbox import mail_server, post_of
from tests.office import DAY, HOUR, Office

MINUTE = timedelta(minutes=1)
WEEK = dict.fromkeys(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), "09:00-18:00")


async def breached(office: Office, **facts: Any) -> str:
    case = await office.open(**facts)
    await office.pass_time(24 * HOUR + timedelta(minutes=1))
    return case


def hops(office: Office, case: str) -> list[tuple[str, str]]:
    return [(event.data["before"], event.data["person"]) for event in office.events(case) if event.kind == "climbed"]


async def test_e36_a_breach_climbs_from_the_manager_to_his_deputy_to_the_director_each_once(office: Office):
    """E36: nobody acknowledges, so the next in line hears."""
    office.organise(wang={"deputies": ("zhao",)})
    case = await breached(office)
    assert office.heard(case, "wang") == ["overdue/reply"]
    await office.pass_time(4 * HOUR)
    assert office.heard(case, "zhao") == ["unacknowledged/reply"]
    assert office.heard(case, "sun") == []
    await office.pass_time(4 * HOUR)
    assert office.heard(case, "sun") == ["unacknowledged/reply"]
    await office.pass_time(12 * HOUR)
    assert hops(office, case) == [("wang", "zhao"), ("zhao", "sun")]
    assert office.heard(case, "wang") == ["overdue/reply"], "nobody hears of it twice"


async def test_each_hop_fires_at_its_planned_instant(office: Office):
    office.organise(wang={"deputies": ("zhao",)})
    case = await breached(office)
    first = office.tasks(case)["reply"].due_at
    await office.pass_time(9 * HOUR)
    climbed = [event.at for event in office.events(case) if event.kind == "climbed"]
    planned = [first + 4 * HOUR, first + 8 * HOUR]
    assert [abs(at - to) < timedelta(seconds=1) for at, to in zip(climbed, planned, strict=True)] == [True, True]


async def test_who_acknowledges_stops_the_climb_and_not_the_ladder(office: Office):
    case = await breached(office)
    assert (await office.hand_in(case, "acknowledge", by="wang", rung="reply", comment="我来催")).state == "decided"
    [rung] = [row for row in office.rows(DeadlineRow, case) if row.acknowledged_at]
    assert (rung.task, rung.acknowledged_by, rung.climbs_at) == ("reply", "wang", None)
    await office.pass_time(20 * HOUR)
    assert office.heard(case, "sun") == []
    await office.pass_time(4 * HOUR)
    assert office.heard(case, "sun") == ["overdue/reply"], "acknowledged, and still not done a day later"


async def test_who_finishes_the_task_stops_the_climb(office: Office):
    case = await breached(office)
    await office.hand_in(case, "reply", content="来晚了")
    await office.pass_time(DAY)
    assert hops(office, case) == []


async def test_only_who_was_told_acknowledges_and_only_what_is_overdue(office: Office):
    case = await office.open()
    assert (await office.hand_in(case, "acknowledge", by="wang", rung="reply")).refusal.code == "nothing_to_acknowledge"
    assert (await office.hand_in(case, "acknowledge", by="wang", rung="nothing")).refusal.code == "no_such_task"
    await office.pass_time(25 * HOUR)
    with pytest.raises(Forbidden, match="not_told"):
        await office.hand_in(case, "acknowledge", by="chen", rung="reply")
    assert (await office.hand_in(case, "acknowledge", by="sun", rung="reply")).state == "decided", "a superior may"


async def test_what_is_acknowledged_is_named_as_the_screens_name_it_or_by_its_key(office: Office):
    """What is neither is refused with what it should be, and where that is to be seen."""
    case = await breached(office)
    async with office.api("wang") as wang:
        path = f"/api/cases/complaint/{case}/acknowledge"
        refused = await wang.post(path, json={"rung": "第一级"})
        assert refused.json()["detail"] == (
            "这个工单没有“第一级”这项待办。请写待办的名称或代码，如“回复”或 reply；它的待办见 kefu show（接口：工单的 tasks）。"
        )
        for rung in ("回复", "回复/0/1", "reply/0/1", "reply"):
            assert (await wang.post(path, json={"rung": rung})).status_code == 200, rung


async def test_a_neglected_complaint_is_mailed_up_the_line_each_once_and_at_its_planned_instant(office: Office):
    """The specialist is reminded; the manager hears, and goes away; who stands in for him hears, then the director."""
    reached: dict[str, Any] = {
        who: {"channels": [f"mailto:{who}@example.com"]} for who in ("lin", "wang", "zhao", "sun", "chen")
    }
    office.organise(**reached)
    with mail_server() as mail:
        post = post_of(office, mail)
        case = await office.open()
        number, due = office.case(case).number, office.tasks(case)["reply"].due_at
        post.round()
        planned = {"lin": due - 4 * HOUR, "wang": due, "zhao": due + 4 * HOUR, "sun": due + 8 * HOUR}
        said = {"lin": "将于", "wang": "经办人 林晓，请跟进", "zhao": "王经理 未确认知悉", "sun": "赵敏 未确认知悉"}
        for nth, at in enumerate(planned.values()):
            await office.pass_time(at - MINUTE - office.now())
            post.round()
            assert mail.about(number, *said.values()) == list(said.items())[:nth], "not a minute early"
            await office.pass_time(2 * MINUTE)
            post.round()
            assert mail.about(number, *said.values()) == list(said.items())[: nth + 1]
            if at == due:
                away = Absence(person="wang", since=office.now(), until=office.now() + 5 * DAY, deputy="zhao")
                office.organise(away, **reached)
        await office.pass_time(4 * HOUR)
        post.round()
    assert mail.about(number, *said.values()) == list(said.items()), "nobody is told twice"
    assert [who for who, _ in mail.about(number, "您经办的回复已逾期")] == ["lin"], (
        "it is hers, and she hears of the breach"
    )
    assert not mail.boxes["chen@example.com"]
    async with office.api("sun") as door:
        timeline = (await door.get(f"/api/cases/{case}")).json()["timeline"]
    climb = [one for one in timeline if one["kind"] in ("reminded", "escalated", "climbed") and one["task"] == "reply"]
    assert [(one["kind"], one["told"]) for one in climb] == [
        ("reminded", ["lin"]),
        ("escalated", ["lin", "wang"]),
        ("climbed", ["zhao"]),
        ("climbed", ["sun"]),
    ]
    late = [datetime.fromisoformat(one["at"]) - at for one, at in zip(climb, planned.values(), strict=True)]
    assert all(timedelta(0) <= one < timedelta(seconds=1) for one in late), late


async def test_e36_an_absent_manager_is_never_the_one_who_hears(office: Office):
    """Resolved when it fires: to the deputy's deputy where the deputy is away, too; and to himself once he is back."""
    away = [
        Absence(person="wang", since=office.now(), until=office.now() + 2 * DAY),
        Absence(person="zhao", since=office.now(), until=office.now() + 2 * DAY),
    ]
    office.organise(*away, wang={"deputies": ("zhao",)}, zhao={"deputies": ("chen",)})
    case = await breached(office)
    assert (office.heard(case, "wang"), office.heard(case, "zhao")) == ([], [])
    assert office.heard(case, "chen") == ["overdue/reply"]
    await office.pass_time(2 * DAY)
    later = await breached(office)
    assert office.heard(later, "wang") == ["overdue/reply"], "an absence that has ended redirects nothing"


async def test_four_hours_are_hours_of_duty_unless_the_case_is_major(office: Office):
    office.organise(wang={"roster": Roster(week=WEEK)})
    office.house.people.refresh()
    ordinary, major = await office.open(), await office.open(severity="major")
    due = office.tasks(ordinary)["reply"].due_at
    await office.pass_time(24 * HOUR + timedelta(minutes=1))
    rows = {case: office.rows(DeadlineRow, case, DeadlineRow.rung) for case in (ordinary, major)}
    climbs = {case: next(row for row in found if row.climbs_at and row.task == "reply") for case, found in rows.items()}
    assert climbs[major].climbs_at == climbs[major].fired_at + 4 * HOUR
    assert climbs[ordinary].climbs_at == office.house.people.answers_by("wang", climbs[ordinary].fired_at, 4 * HOUR)
    assert climbs[ordinary].fired_at - due < timedelta(seconds=1), "the breach itself is recorded at its own time"


async def test_a_case_that_is_rebuilt_climbs_on_where_it_stood(office: Office):
    office.organise(wang={"deputies": ("zhao",)})
    case = await breached(office)
    await office.pass_time(4 * HOUR)
    before = office.events(case)
    await office.front.reconciler.rebuild(case)
    await office.pass_time(4 * HOUR)
    assert [event.key for event in office.events(case)][: len(before)] == [event.key for event in before]
    assert hops(office, case) == [("wang", "zhao"), ("zhao", "sun")]
    assert [office.heard(case, who) for who in ("zhao", "sun")] == [["unacknowledged/reply"]] * 2


async def test_what_is_acknowledged_and_moved_begins_anew(office: Office):
    case = await breached(office)
    await office.hand_in(case, "acknowledge", by="wang", rung="reply")
    later = (office.now() + 2 * HOUR).isoformat()
    await office.hand_in(case, "extend", by="wang", task="reply", due_at=later, reason="与顾客约好")
    assert (await office.hand_in(case, "acknowledge", by="wang", rung="reply")).refusal.code == "nothing_to_acknowledge"
    await office.pass_time(7 * HOUR)
    assert hops(office, case) == [("wang", "sun")], "a new due time, a new breach"


async def test_a_climb_that_never_came_is_an_alarm(office: Office):
    """The watchdog does not trust the engine: here it was told that the next in line should have heard long ago."""
    case = await breached(office)
    watchdog = office.front.watchdog
    assert [finding for finding in watchdog.round() if finding.case == case] == []
    with office.house.database.writing() as session:
        row = session.exec(select(DeadlineRow).where(col(DeadlineRow.climbs_at).is_not(None))).one()
        row.climbs_at = office.now() - HOUR
    assert [finding.kind for finding in watchdog.round() if finding.case == case] == ["rung_not_fired"]


async def test_a_task_is_handed_over_when_the_other_accepts(office: Office):
    case = await office.open()
    due = office.tasks(case)["reply"].due_at
    with pytest.raises(Forbidden, match="not_your_task"):
        await office.hand_in(case, "hand_over", by="chen", task="reply", person="zhao", note="帮我")
    await office.hand_in(case, "hand_over", task="reply", person="chen", note="我今天在外地")
    assert office.tasks(case)["reply"].owner == "lin", "until she accepts"
    assert "offered/reply" in office.heard(case, "chen")
    assert (await office.hand_in(case, "accept", by="zhao", task="reply")).refusal.code == "not_offered"
    await office.hand_in(case, "accept", by="chen", task="reply")
    assert (office.tasks(case)["reply"].owner, office.tasks(case)["reply"].due_at) == ("chen", due)
    assert [office.heard(case, who)[-1] for who in ("lin", "chen")] == ["given_away/reply", "offered/reply"]

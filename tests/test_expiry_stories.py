"""Expiring members (handbook 4.2; 5.1 E6–E15, 5.3 E51–E54): the month's list, the call, and what a purchase makes of it."""

import asyncio
import io
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import openpyxl
import pytest
from sqlmodel import select

from activities.keys import COLUMN
from models.expiry import Waiver
from models.members import Member, Purchase
from models.tables import ExpiryListRow, NoticeRow, PullRow
from starter.expiry.lists import place_of
from starter.members.watching import SourceWatch
from tests.cards import (
    at,
    bought,
    cases,
    delivered,
    lines,
    listed,
    looked_round,
    member,
    month_opens,
    notice_of,
    on_list,
    undecided,
    until,
    waived,
)
from tests.office import DAY, HOUR, Office

# The rule


def card(valid_through: str, valid_from: str | None = None) -> Member:
    begins = date.fromisoformat(valid_from) if valid_from else None
    return Member("m", 1, "SH01", "east", None, begins, date.fromisoformat(valid_through))


@pytest.mark.parametrize(
    ("paid", "is_waived"),
    [
        ([], False),
        (["1", "1"], False),
        (["1", "1", "1"], True),
        (["999.99"], False),
        (["1000"], True),
        (["500", "500"], True),
        (["1", "1", "0"], False),
    ],
)
def test_three_purchases_or_1000_yuan_waive_the_fee_and_reaching_it_is_enough(paid: list[str], is_waived: bool):
    receipts = [Purchase(str(nth), "m", None, at("2026-11-01 12:00"), Decimal(yuan)) for nth, yuan in enumerate(paid)]
    assert Waiver().reckon(receipts).waived is is_waived


def test_refunds_count_against_both():
    when = at("2026-11-01 12:00")
    paid = [Purchase("1", "m", None, when, Decimal(1000), Decimal("0.01"))]
    assert not Waiver().reckon(paid).waived
    three = [Purchase(str(nth), "m", None, when, Decimal(10), Decimal(10 * (nth == 1))) for nth in range(3)]
    assert (Waiver().reckon(three).purchases, Waiver().reckon(three).purchases_missing) == (2, 1)
    assert Waiver().reckon(three).amount_missing == Decimal(980)


def test_a_setting_counts_the_receipts_of_one_day_once():
    late, later = at("2026-11-01 23:50"), at("2026-11-02 00:10")
    receipts = [Purchase(str(nth), "m", None, when, Decimal(1)) for nth, when in enumerate((late, late, later))]
    assert Waiver().reckon(receipts).purchases == 3
    assert Waiver(same_day_once=True).reckon(receipts).purchases == 2


@pytest.mark.parametrize(
    ("valid_from", "valid_through", "first"),
    [
        ("2026-03-15", "2027-03-15", "2026-03-15"),
        ("2026-03-15", "2027-03-14", "2026-03-15"),
        ("2020-03-15", "2027-03-14", "2026-03-15"),
        (None, "2027-03-14", "2026-03-15"),
        ("2028-02-29", "2029-02-28", "2028-02-29"),
        (None, "2028-02-29", "2027-03-01"),
        (None, "2027-02-28", "2026-03-01"),
        (None, "2029-02-28", "2028-02-29"),
    ],
)
def test_the_membership_year_ends_with_the_card(valid_from: str | None, valid_through: str, first: str):
    """E11: a year from 29 February is clamped."""
    assert Waiver().days(card(valid_through, valid_from), valid_through[:7])[0].isoformat() == first


def test_a_setting_takes_the_calendar_year_in_which_the_list_is_made():
    """D-7. For a card of January that is the year before."""
    rule = Waiver(year="calendar")
    assert rule.days(card("2027-01-20"), "2027-01") == (date(2026, 1, 1), date(2026, 12, 31))
    assert rule.days(card("2027-02-20"), "2027-02") == (date(2027, 1, 1), date(2027, 12, 31))


# A month


async def test_a_month_from_the_list_to_the_end_of_the_cards(office: Office):
    """E10, E13: cards of January are listed in December; who has earned the waiver is counted apart."""
    for who, store in (("poor", "SH01"), ("buys", "GZ01"), ("rich", "SH01"), ("often", "BJ01")):
        member(office, who, "2027-01-20", "2026-01-21", store)
    member(office, "next", "2027-02-01")
    member(office, "last", "2026-12-31")
    bought(office, "poor", "300", "200", on=at("2026-06-01 12:00"))
    bought(office, "rich", "1000", on=at("2026-06-01 12:00"))
    bought(office, "often", "1", "1", "1", on=at("2026-06-01 12:00"))
    await until(office, at("2026-12-01 00:00"))
    await month_opens(office)
    await listed(office, "2027-01")

    assert (on_list(office, "2027-01"), waived(office, "2027-01")) == ({"poor", "buys"}, {"rich", "often"})
    run = cases(office, "expiry")["2027-01"]
    assert (run.state, run.closed_because) == ("archived", "completed")
    assert set(cases(office, "expiry_calls")) == {"2027-01-east", "2027-01-south"}
    poor = notice_of(office, "poor", "2027-01")
    assert (poor.number[:8], poor.store, poor.region) == ("2027-01-", "SH01", "east")
    call = office.tasks(poor.id)["call"]
    assert (call.owner, call.due_at) == ("lin", at("2027-01-01 00:00"))

    await office.hand_in(poor.id, "call", process="expiry_notice", outcome="will_spend", comment="过年来买")
    assert office.heard(poor.id, "oa-sh01") == ["member_called/None"]
    [told] = (await office.front.look(office.front.actor("oa-sh01"), lambda views: views.notices())).items
    assert told.text.endswith("会员：姓名 会*，会员号 ****，会员卡号 ****；全部资料：kefu members show poor。")
    await looked_round(office)
    assert cases(office, "expiry_calls")["2027-01-east"].state == "archived"
    assert cases(office, "expiry_calls")["2027-01-south"].state == "open"

    bought(office, "buys", "1000")
    await delivered(office)
    ended = notice_of(office, "buys", "2027-01")
    assert (ended.state, ended.closed_because) == ("archived", "waiver_reached")
    assert office.tasks(ended.id)["call"].withdrawn_because == "waiver_reached"
    await looked_round(office)
    assert cases(office, "expiry_calls")["2027-01-south"].state == "archived", "nobody is left to be called"

    await until(office, at("2027-01-20 23:59"))
    await looked_round(office)
    assert office.case(poor.id).state == "open"
    await until(office, at("2027-01-21 00:00"))
    await looked_round(office)
    assert office.case(poor.id).closed_because == "expired"
    assert [notice.what for notice in of_manager(office)] == []


def of_manager(office: Office) -> list[NoticeRow]:
    with office.house.database.reading() as session:
        told = select(NoticeRow).where(NoticeRow.person == "wang").order_by(NoticeRow.id)  # type: ignore[arg-type]
        return list(session.exec(told))


async def test_a_list_that_cannot_wait_is_made_of_what_is_known_when_the_manager_says_so(asked: Office):
    """E51: and it says that it was."""
    office = asked
    member(office, "m", "2027-01-10")
    await member_system_is_down(office)
    await until(office, at("2026-12-01 00:00"))
    await month_opens(office)
    case = cases(office, "expiry")["2027-01"].id
    async with office.api("lin") as lin, office.api("wang") as wang:
        assert (await lin.post("/api/expiry/2027-01/anyway")).status_code == 403
        assert (await wang.post("/api/expiry/2027-02/anyway")).status_code == 404
        assert (await wang.post("/api/expiry/2027-01/anyway")).status_code == 202
        again = await wang.post("/api/expiry/2027-01/anyway")
    assert (again.status_code, again.json()["code"]) == (409, "list_begun")
    await office.pass_time(2 * HOUR)
    await listed(office, "2027-01")
    assert notice_of(office, "m", "2027-01")
    assert [(event.by, event.data) for event in office.events(case) if event.kind == "noted"] == [
        ("wang", {"what": "made_anyway"})
    ]
    async with office.api("lin") as door:
        page, months = (await door.get("/api/expiry/2027-01")).json(), (await door.get("/api/expiry")).json()
    assert (page["made_anyway_by"], months["items"][0]["made_anyway_by"]) == ("wang", "wang")
    figures = archived(office, "2027-01").worksheets[1]
    assert [cell.value for cell in figures[1]] == ["未等会员系统，按当时已有资料生成，决定人", "王经理"]


async def test_a_member_system_that_is_asked_no_more_holds_up_no_list(office: Office):
    member(office, "m", "2027-01-10")
    await member_system_is_down(office)  # and was taken out of the settings
    await until(office, at("2026-12-01 00:00"))
    await month_opens(office)
    await listed(office, "2027-01")
    assert notice_of(office, "m", "2027-01")


async def test_a_member_system_that_does_not_answer_for_an_hour_is_an_alarm_until_it_does(asked: Office):
    office = asked
    watch = SourceWatch(office.house, office.now)
    await member_system_is_down(office)
    assert watch.round() == []
    await office.pass_time(HOUR + timedelta(minutes=1))
    assert [finding.kind for finding in watch.round()] == ["members_not_pulled"]
    with office.house.database.reading() as session:
        told = session.exec(select(NoticeRow).where(NoticeRow.person == "admin")).all()
    assert [notice.data["alarm"] for notice in told] == ["members_not_pulled"]
    await member_system_is_down(office)  # it has answered just now
    assert watch.round() == []


async def test_a_member_system_whose_file_cannot_be_read_is_an_alarm_and_stops_no_watch(asked: Office):
    office = asked
    office.house.settings.member_source.write_text("nothing")
    watch = SourceWatch(office.house, office.now)
    await office.pass_time(HOUR + timedelta(minutes=1))
    assert [finding.kind for finding in watch.round()] == ["members_not_pulled"]


async def test_a_months_calls_are_one_word_to_the_specialist_and_never_one_a_member(office: Office):
    for nth in range(3):
        member(office, f"e{nth}", "2027-01-10", store="SH01")
    await until(office, at("2026-12-01 00:00"))
    await month_opens(office)
    await listed(office, "2027-01")
    assert office.tasks(notice_of(office, "e0", "2027-01").id)["call"].owner == "lin"
    with office.house.database.reading() as session:
        told = session.exec(select(NoticeRow).where(NoticeRow.person == "lin")).all()
    assert [notice.what for notice in told if notice.delivered_at] == ["calls_to_make"]


async def test_calls_that_are_not_done_are_one_word_to_the_manager_for_a_region(office: Office):
    """Never one per member."""
    for nth in range(3):
        member(office, f"e{nth}", "2027-01-10", store="SH01")
        member(office, f"s{nth}", "2027-01-10", store="GZ01")
    await until(office, at("2026-12-01 00:00"))
    await month_opens(office)
    await listed(office, "2027-01")
    for nth in range(3):
        await office.hand_in(
            notice_of(office, f"s{nth}", "2027-01").id, "call", process="expiry_notice", by="chen", outcome="declined"
        )
    await looked_round(office)
    east = cases(office, "expiry_calls")["2027-01-east"]
    await until(office, at("2026-12-25 09:00") + HOUR)
    assert office.heard(east.id, "lin") == ["calls_to_make/None", "reminder/calls_done"]
    await until(office, at("2027-01-01 00:00") + HOUR)
    assert [(notice.what, notice.case_id) for notice in of_manager(office)] == [("overdue", east.id)]
    for nth in range(3):
        await office.hand_in(
            notice_of(office, f"e{nth}", "2027-01").id, "call", process="expiry_notice", outcome="will_renew"
        )
    await looked_round(office)
    assert cases(office, "expiry_calls")["2027-01-east"].closed_because == "completed"


async def test_what_is_bought_after_the_list_and_before_the_end_ends_the_notice_however_it_is_heard_of(office: Office):
    """E12: the third purchase; the last day's; one that the door did not say; but not one after the card's end."""
    for who in ("third", "last", "unsaid", "after", "early"):
        member(office, who, "2027-01-10", "2026-01-11")
        bought(office, who, "10", "10", on=at("2026-02-01 12:00"))
    bought(office, "early", "10", on=at("2026-01-10 23:59"))  # before the membership year
    await until(office, at("2026-12-01 00:00"))
    await month_opens(office)
    await listed(office, "2027-01")
    assert on_list(office, "2027-01") == {"third", "last", "unsaid", "after", "early"}
    bought(office, "third", "10")
    bought(office, "unsaid", "10", heard=False)
    await delivered(office)
    assert notice_of(office, "third", "2027-01").closed_because == "waiver_reached"
    assert notice_of(office, "unsaid", "2027-01").state == "open"
    await looked_round(office)
    assert notice_of(office, "unsaid", "2027-01").closed_because == "waiver_reached"
    await until(office, at("2027-01-10 23:50"))
    bought(office, "last", "10")
    await delivered(office)
    assert notice_of(office, "last", "2027-01").closed_because == "waiver_reached"
    await until(office, at("2027-01-11 00:00"))
    bought(office, "after", "10")
    await delivered(office)
    await looked_round(office)
    ends = {who: notice_of(office, who, "2027-01").closed_because for who in ("after", "early")}
    assert ends == {"after": "expired", "early": "expired"}
    assert list(undecided(office)) == []


async def test_what_is_paid_back_after_the_list_takes_the_waiver_away(office: Office):
    member(office, "m", "2027-01-10")
    [receipt] = bought(office, "m", "1000", on=at("2026-10-01 12:00"))
    await until(office, at("2026-12-01 00:00"))
    await month_opens(office)
    await listed(office, "2027-01")
    assert waived(office, "2027-01") == {"m"}
    bought(office, "m", "0.01", refund_of=receipt)
    await delivered(office)
    assert on_list(office, "2027-01") == {"m"}
    assert notice_of(office, "m", "2027-01").state == "open"


async def test_a_purchase_that_ended_a_notice_and_is_paid_back_begins_another(office: Office):
    """And who makes the region's calls hears of it; the notice before it stays as it was."""
    member(office, "m", "2027-01-10")
    bought(office, "m", "300", on=at("2026-10-01 12:00"))
    await until(office, at("2026-12-01 00:00"))
    await month_opens(office)
    await listed(office, "2027-01")
    [receipt] = bought(office, "m", "800")
    await delivered(office)
    before = notice_of(office, "m", "2027-01")
    assert (before.state, before.closed_because) == ("archived", "waiver_reached")
    bought(office, "m", "700", refund_of=receipt)
    await delivered(office)
    again = notice_of(office, "m", "2027-01")
    assert (again.state, again.number) == ("open", f"{before.number}-2")
    assert "one_more_call/None" in office.heard(cases(office, "expiry_calls")["2027-01-east"].id, "lin")
    bought(office, "m", "700", on=office.now())
    await delivered(office)
    assert notice_of(office, "m", "2027-01").closed_because == "waiver_reached"
    assert office.case(before.id).closed_because == "waiver_reached"


async def test_who_comes_on_the_list_late_is_told_of_to_who_makes_the_regions_calls(office: Office):
    """While they are being made, once a day; when they are done, by another round, which climbs as the first one does."""
    receipts = {}
    for who in ("poor", "first", "second", "third"):
        member(office, who, "2027-01-10")
        receipts[who] = bought(office, who, "1000" if who != "poor" else "1", on=at("2026-10-01 12:00"))[0]
    await until(office, at("2026-12-01 00:00"))
    await month_opens(office)
    await listed(office, "2027-01")
    for who in ("first", "second"):
        bought(office, who, "1", refund_of=receipts[who])
    await delivered(office)
    east = cases(office, "expiry_calls")["2027-01-east"].id
    assert office.heard(east, "lin") == ["calls_to_make/None", "one_more_call/None"]
    for who in ("poor", "first"):
        await office.hand_in(notice_of(office, who, "2027-01").id, "call", process="expiry_notice", outcome="declined")
    await looked_round(office)
    assert office.case(east).state == "open", "one is still to be called"
    await office.hand_in(notice_of(office, "second", "2027-01").id, "call", process="expiry_notice", outcome="declined")
    await looked_round(office)
    assert office.case(east).state == "archived"

    await until(office, at("2027-01-03 12:00"))
    bought(office, "third", "1", refund_of=receipts["third"])
    await delivered(office)
    again = cases(office, "expiry_calls")["2027-01-east-2"].id
    await office.pass_time(HOUR)
    assert office.heard(again, "lin") == ["calls_to_make/None", "breached/calls_done"]
    assert office.heard(again, "wang") == ["overdue/calls_done"], "his month is over, and his card ends on the 10th"
    await office.hand_in(
        notice_of(office, "third", "2027-01").id, "call", process="expiry_notice", outcome="will_spend"
    )
    await looked_round(office)
    assert office.case(again).state == "archived"


async def test_what_the_desk_refuses_of_a_machine_the_administrator_hears_of(office: Office):
    """A purchase is taken before it is decided that the member has left: there is no notice any more that it could end."""
    member(office, "m", "2027-01-10")
    await until(office, at("2026-12-01 00:00"))
    await month_opens(office)
    await listed(office, "2027-01")
    case = notice_of(office, "m", "2027-01").id
    office.commit(case, "call", process="expiry_notice", outcome="left")
    bought(office, "m", "1000")
    await delivered(office)
    assert office.case(case).closed_because == "left"
    assert office.heard(case, "admin") == ["refused/None"]
    async with office.api("admin") as door:
        [told] = (await door.get("/api/notices")).json()["items"]
    assert "您提交的“到期结清”未被接受。工单已结案" in told["text"]


async def test_what_is_bought_while_the_list_is_being_made_is_judged_once_the_notice_is_there(office: Office):
    member(office, "m", "2027-01-10")
    await office.worker_leaves()
    await until(office, at("2026-12-01 00:00"))
    await asyncio.to_thread(office.front.almanac.open_due, "expiry", office.now())
    [make] = [errand for errand in office.front.errands if errand.__name__ == "make_list"]

    def buy_and_die() -> None:
        bought(office, "m", "1000")
        raise Killed

    maker, run = make.__self__._make, cases(office, "expiry")["2027-01"].id
    with pytest.raises(Killed):
        await asyncio.to_thread(maker, run, "2027-01", buy_and_die)
    await asyncio.to_thread(office.front.rounds.round)
    assert lines(office, "2027-01")["m"].case_id is None
    await office.worker_comes()
    await asyncio.to_thread(maker, run, "2027-01")
    await delivered(office)
    await looked_round(office)
    assert notice_of(office, "m", "2027-01").closed_because == "waiver_reached"


class Killed(BaseException):
    """As kill -9: nothing gets to clean up."""


async def test_a_card_that_changes_after_the_list_ends_its_notice(office: Office):
    """E14: renewed early, replaced, left. Who moves is called all the same."""
    for who in ("renewed", "replaced", "left", "moved"):
        member(office, who, "2027-01-10")
    await until(office, at("2026-12-01 00:00"))
    await month_opens(office)
    await listed(office, "2027-01")
    member(office, "renewed", "2028-01-10")
    member(office, "replaced", "2027-01-10", standing="replaced")
    member(office, "left", "2027-01-10", standing="left")
    member(office, "moved", "2027-01-10", standing="moved", store="GZ01")
    await looked_round(office)
    ends = {who: notice_of(office, who, "2027-01").closed_because for who in on_list(office, "2027-01")}
    assert ends == {"renewed": "renewed", "replaced": "card_replaced", "left": "left", "moved": None}


async def test_nobody_is_given_up_after_one_afternoon(office: Office):
    """E54: unreachable only after three calls on two days; a wrong number at once. The store hears of either."""
    member(office, "deaf", "2027-01-10")
    member(office, "wrong", "2027-01-10")
    await until(office, at("2026-12-01 00:00"))
    await month_opens(office)
    await listed(office, "2027-01")
    deaf, wrong = (notice_of(office, who, "2027-01").id for who in ("deaf", "wrong"))
    for _ in range(3):
        await office.hand_in(deaf, "attempt", process="expiry_notice")
    refused = await office.hand_in(deaf, "call", process="expiry_notice", outcome="unreachable")
    assert refused.refusal
    assert refused.refusal.code == "not_called_enough"
    await office.pass_time(DAY)
    await office.hand_in(deaf, "attempt", process="expiry_notice")
    await office.hand_in(deaf, "call", process="expiry_notice", outcome="unreachable", told_rule=False)
    await office.hand_in(wrong, "call", process="expiry_notice", outcome="wrong_number", told_rule=False)
    assert [office.heard(case, "oa-sh01") for case in (deaf, wrong)] == [["member_called/None"]] * 2
    assert {office.case(case).state for case in (deaf, wrong)} == {"open"}, "until the card ends he may buy"


async def test_after_some_calls_there_is_nothing_to_wait_for(office: Office):
    outcomes = ("left", "card_replaced", "renewed_already")
    for outcome in outcomes:
        member(office, outcome, "2027-01-10")
    await until(office, at("2026-12-01 00:00"))
    await month_opens(office)
    await listed(office, "2027-01")
    for outcome in outcomes:
        case = notice_of(office, outcome, "2027-01").id
        await office.hand_in(case, "call", process="expiry_notice", outcome=outcome)
        assert office.case(case).closed_because == outcome


async def test_who_has_moved_keeps_his_notice_until_his_card_ends_or_he_buys(office: Office):
    """His store hears as of every call; nothing else is settled by it."""
    for who in ("buys", "waits"):
        member(office, who, "2027-01-10")
    await until(office, at("2026-12-01 00:00"))
    await month_opens(office)
    await listed(office, "2027-01")
    buys, waits = (notice_of(office, who, "2027-01").id for who in ("buys", "waits"))
    for case in (buys, waits):
        await office.hand_in(case, "call", process="expiry_notice", outcome="moved")
        assert office.heard(case, "oa-sh01") == ["member_called/None"]
        assert office.case(case).state == "open"
    await looked_round(office)
    assert cases(office, "expiry_calls")["2027-01-east"].state == "archived", "both were called"
    bought(office, "buys", "1000")
    await delivered(office)
    await until(office, at("2027-01-11 00:00"))
    await looked_round(office)
    assert [office.case(case).closed_because for case in (buys, waits)] == ["waiver_reached", "expired"]


# Months that matter


async def test_an_empty_list_is_written_and_tells_nobody(office: Office):
    """E52."""
    await until(office, at("2026-12-01 00:00"))
    await month_opens(office)
    await listed(office, "2027-01")
    assert cases(office, "expiry")["2027-01"].closed_because == "completed"
    assert cases(office, "expiry_calls") == {}
    book = archived(office, "2027-01")
    assert [sheet.title for sheet in book.worksheets] == ["2027年1月到期会员名单", "统计"]
    assert book.worksheets[0].max_row == 1
    await until(office, at("2026-12-08 00:00"))
    assert of_manager(office) == []


def archived(office: Office, month: str) -> openpyxl.Workbook:
    with office.house.database.reading() as session:
        row = session.get_one(ExpiryListRow, month)
    assert row.sealed
    return openpyxl.load_workbook(io.BytesIO(office.house.keys.open(row.sealed, COLUMN, place_of(month))))


async def test_february_a_leap_day_and_the_turn_of_the_year(office: Office):
    """E10, E11: January's list has 28 or 29 days of February; December's is of the next year."""
    for who, end in (
        ("feb28", "2027-02-28"),
        ("mar1", "2027-03-01"),
        ("jan31", "2027-01-31"),
        ("leap", "2028-02-29"),
        ("clamped", "2029-02-28"),
    ):
        member(office, who, end)
    for begins, month, expected in (
        ("2026-12-01 00:00", "2027-01", {"jan31"}),
        ("2027-01-01 00:00", "2027-02", {"feb28"}),
        ("2027-02-01 00:00", "2027-03", {"mar1"}),
        ("2028-01-01 00:00", "2028-02", {"leap"}),
        ("2029-01-01 00:00", "2029-02", {"clamped"}),
    ):
        await until(office, at(begins))
        await month_opens(office)
        await listed(office, month)
        assert on_list(office, month) == expected, month
    feb28 = notice_of(office, "feb28", "2027-02")
    assert office.tasks(feb28.id)["call"].due_at == at("2027-02-01 00:00")
    assert office.tasks(feb28.id)["settled"].due_at == at("2027-03-01 01:00")


async def test_the_list_is_due_by_the_end_of_the_5th_holiday_or_not(office: Office):
    """E6, E7, E9: 5 December 2026 is a Saturday, 5 October lies in the National-Day holiday. The date is literal."""
    for run, month, due in (
        ("2026-12-01 00:00", "2027-01", "2026-12-06 00:00"),
        ("2027-01-01 00:00", "2027-02", "2027-01-06 00:00"),
        ("2027-10-01 00:00", "2027-11", "2027-10-06 00:00"),
        ("2028-02-01 00:00", "2028-03", "2028-02-06 00:00"),
    ):
        await until(office, at(run))
        await month_opens(office)
        assert office.tasks(cases(office, "expiry")[month].id)["listed"].due_at == at(due)


@pytest.fixture
def asked(office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Office:
    """The member system is asked over HTTP, at an address where nobody answers."""
    file = tmp_path / "members.toml"
    file.write_text('[http]\nurl = "http://127.0.0.1:1/"\ntoken = "made-up"\n')
    monkeypatch.setattr(office.house.settings, "member_source", file)
    return office


async def member_system_is_down(office: Office) -> None:
    with office.house.database.writing() as session:
        session.merge(PullRow(source="http", since=office.now(), at=office.now()))


async def test_while_the_member_system_is_down_the_list_waits_and_the_manager_hears_after_the_5th(asked: Office):
    """E51: the owner on the 3rd, the manager at the end of the 5th; then it comes back, and the list is made."""
    office = asked
    member(office, "m", "2027-01-10")
    await member_system_is_down(office)
    await until(office, at("2026-12-01 00:00"))
    await month_opens(office)
    case = cases(office, "expiry")["2027-01"].id
    owner = office.tasks(case)["listed"].owner
    await until(office, at("2026-12-03 09:00") + HOUR)
    assert office.heard(case, owner) == ["reminder/listed"]
    await until(office, at("2026-12-05 23:59"))
    assert office.heard(case, "wang") == []
    await until(office, at("2026-12-06 00:00") + HOUR)
    assert office.heard(case, "wang") == ["overdue/listed"]
    await member_system_is_down(office)  # and has been heard of since
    await office.pass_time(2 * HOUR)
    await listed(office, "2027-01")
    assert on_list(office, "2027-01") == {"m"}
    assert office.case(case).state == "archived"


async def test_a_server_that_was_down_from_the_30th_to_the_3rd_makes_the_list_once(office: Office):
    """E18. Its clock ran from the 1st all the same."""
    member(office, "m", "2027-01-10")
    await asyncio.to_thread(office.front.keeper.round)
    await until(office, at("2026-11-30 20:00"))
    await office.worker_leaves()
    await until(office, at("2026-12-03 08:00"))
    await office.worker_comes()
    await asyncio.to_thread(office.front.keeper.round)
    await month_opens(office)  # the Schedule's catch-up, too
    await listed(office, "2027-01")
    await asyncio.to_thread(office.front.keeper.round)
    await delivered(office)
    assert list(cases(office, "expiry")) == ["2027-01"]
    assert len(cases(office, "expiry_notice")) == 1
    run = cases(office, "expiry")["2027-01"].id
    assert office.tasks(run)["listed"].due_at == at("2026-12-06 00:00")


async def test_a_run_that_is_started_twice_and_killed_in_between_lists_nobody_twice(office: Office):
    for nth in range(60):
        member(office, f"m{nth:03}", "2027-01-10")
    await office.worker_leaves()
    await until(office, at("2026-12-01 00:00"))
    await asyncio.to_thread(office.front.almanac.open_due, "expiry", office.now())
    run = cases(office, "expiry")["2027-01"].id
    [make] = [errand for errand in office.front.errands if errand.__name__ == "make_list"]
    maker = make.__self__._make

    steps = iter(range(100))

    def die_at(step: int) -> None:
        if next(steps) == step:
            raise Killed

    for step in (0, 3, 5):  # after some lines; after some notices, twice
        with pytest.raises(Killed):
            await asyncio.to_thread(maker, run, "2027-01", lambda step=step: die_at(step))
    await asyncio.to_thread(maker, run, "2027-01")
    await asyncio.to_thread(maker, run, "2027-01")
    assert len(lines(office, "2027-01")) == len(cases(office, "expiry_notice")) == 60
    assert sorted(line.nth for line in lines(office, "2027-01").values()) == list(range(1, 61))
    assert {case.number for case in cases(office, "expiry_calls").values()} == {"2027-01-east"}


async def test_a_months_list_is_made_while_the_last_one_is_still_open(office: Office):
    member(office, "january", "2027-01-31")
    member(office, "february", "2027-02-10")
    for begins, month in (("2026-12-01 00:00", "2027-01"), ("2027-01-01 00:00", "2027-02")):
        await until(office, at(begins))
        await month_opens(office)
        await listed(office, month)
    both = [notice_of(office, "january", "2027-01"), notice_of(office, "february", "2027-02")]
    assert {case.state for case in both} == {"open"}
    assert len({case.number for case in both}) == 2


# What is archived


async def test_the_archived_workbook_says_what_each_still_lacks(office: Office):
    """F2; user text stays text."""
    member(office, "m1", "2027-01-10", name="=1+1")
    bought(office, "m1", "300.50", "100", on=at("2026-08-01 12:00"))
    await until(office, at("2026-12-01 00:00"))
    await month_opens(office)
    await listed(office, "2027-01")
    bought(office, "m1", "5")
    book = archived(office, "2027-01")
    heads, row = ([cell.value for cell in line] for line in book.worksheets[0].iter_rows(max_row=2))
    said = dict(zip(heads, row, strict=True))
    assert said["姓名"] == "=1+1"
    assert said["开卡门店"] == "上海南京东路店"
    assert (said["本年消费次数"], said["本年消费金额"]) == (2, 400.5)
    assert (said["还差次数"], said["还差金额"]) == (1, 599.5)
    assert {cell.data_type for cell in book.worksheets[0][2]} <= {"s", "n"}


async def test_a_notice_costs_few_events_of_history(office: Office):
    """Called, and then ended by a purchase: measured 20; with three attempts, and until the card ended, 38."""
    member(office, "short", "2027-01-10")
    member(office, "long", "2027-01-10")
    await until(office, at("2026-12-01 00:00"))
    await month_opens(office)
    await listed(office, "2027-01")
    short, long = (notice_of(office, who, "2027-01").id for who in ("short", "long"))
    for _ in range(3):
        await office.hand_in(long, "attempt", process="expiry_notice")
        await office.pass_time(DAY)
    for case in (short, long):
        await office.hand_in(case, "call", process="expiry_notice", outcome="will_spend")
    bought(office, "short", "1000")
    await delivered(office)
    await until(office, at("2027-01-11 00:00"))
    await looked_round(office)
    lengths = {}
    for name, case in (("short", short), ("long", long)):
        history = await office.client.get_workflow_handle(case).fetch_history()
        lengths[name] = len(history.events)
    assert lengths["short"] <= 25, lengths
    assert lengths["long"] <= 45, lengths

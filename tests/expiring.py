"""Stories of expiring members that are recorded, and replayed by every later release."""

from tests.cards import at, bought, cases, delivered, listed, looked_round, member, month_opens, notice_of, until
from tests.office import DAY, HOUR, Office


async def december(office: Office) -> None:
    """The list of January with one member on it."""
    member(office, "m1", "2027-01-10", "2026-01-11")
    await until(office, at("2026-12-01 00:00"))
    await month_opens(office)
    await listed(office, "2027-01")


async def a_months_list_is_made(office: Office) -> str:
    await december(office)
    return cases(office, "expiry")["2027-01"].id


async def a_round_of_calls_is_late(office: Office) -> str:
    """The owner is reminded, the manager and the director hear, then the call is made."""
    await december(office)
    await until(office, at("2027-01-02 09:00"))
    case = cases(office, "expiry_calls")["2027-01-east"].id
    assert [len(office.heard(case, who)) for who in ("lin", "wang", "sun")] == [4, 1, 2]
    await office.hand_in(notice_of(office, "m1", "2027-01").id, "call", process="expiry_notice", outcome="will_renew")
    await looked_round(office)
    assert office.case(case).state == "archived"
    return case


async def a_purchase_ends_a_notice(office: Office) -> str:
    await december(office)
    await office.pass_time(HOUR)
    bought(office, "m1", "1000")
    await delivered(office)
    return notice_of(office, "m1", "2027-01").id


async def nobody_is_reached_until_the_card_ends(office: Office) -> str:
    await december(office)
    case = notice_of(office, "m1", "2027-01").id
    for _ in range(3):
        await office.hand_in(case, "attempt", process="expiry_notice")
        await office.pass_time(DAY)
    await office.hand_in(case, "call", process="expiry_notice", outcome="unreachable", told_rule=False)
    await until(office, at("2027-01-11 00:00") + HOUR)
    await looked_round(office)
    assert office.case(case).closed_because == "expired"
    return case


EXPIRING = [
    a_months_list_is_made,
    a_round_of_calls_is_late,
    a_purchase_ends_a_notice,
    nobody_is_reached_until_the_card_ends,
]

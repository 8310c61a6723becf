"""The short form of `make months`: made-up orders through every month they cover, member by member as plain SQL has it."""

from datetime import date

from tests.months.orders import made_up
from tests.months.reference import expected
from tests.months.run import compared, found, run
from tests.office import Office


async def test_every_member_is_listed_waived_or_dropped_as_the_reference_says(office: Office):
    """First orders about the turn of a year with a leap day, so that lists of two years and of February are made."""
    orders = made_up(30, date(2028, 1, 15), days=420)
    await run(office, orders)
    table, differ = compared(office, orders)
    assert differ == [], table
    ends = [(member.waived, bool(member.dropped_on)) for member in found(office).values()]
    assert {ends.count(each) > 1 for each in ((True, False), (False, True), (False, False))} == {True}, table


def test_the_reference_knows_the_edges():
    """That it can fail: a cent, an order or a day less is another answer."""
    from tests.months.orders import Order

    first, list_day, through = date(2028, 3, 10), date(2029, 2, 1), date(2029, 3, 10)

    def of(*orders: tuple[date, int]) -> tuple[bool, date | None]:
        member = expected([Order("1", day, cents) for day, cents in orders])["1"]
        return member.waived, member.dropped_on

    before = date(2029, 1, 31)
    assert of((first, 100000)) == (True, None)
    assert of((first, 99999)) == (False, None)
    assert of((first, 1), (before, 1), (before, 1)) == (True, None)
    assert of((first, 1), (before, 1), (list_day, 1)) == (False, list_day)
    assert of((first, 1), (before, 1), (through, 1)) == (False, through)
    assert of((first, 1), (before, 1), (date(2029, 3, 11), 1)) == (False, None)
    assert of((first, 1), (before, 1), (before, 0)) == (False, None)

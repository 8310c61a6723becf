"""What must come of every member, in plain SQL: nothing of the product is used here."""

import sqlite3
from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

from tests.months.orders import Order

SQL = """
WITH cards AS (
    SELECT customer, MIN(day) AS first_day,
           CASE WHEN strftime('%m-%d', MIN(day)) = '02-29' THEN date(MIN(day), '+1 year', '-1 day')
                ELSE date(MIN(day), '+1 year') END AS through
    FROM orders GROUP BY customer
), paid AS (
    SELECT c.customer, c.first_day, c.through, o.day, o.cents,
           date(c.through, 'start of month', '-1 month') AS list_day
    FROM cards c JOIN orders o ON o.customer = c.customer
     AND o.day BETWEEN c.first_day AND c.through AND o.cents > 0
), by_day AS (
    SELECT customer, day,
           SUM(COUNT(*)) OVER w AS orders_so_far, SUM(SUM(cents)) OVER w AS cents_so_far
    FROM paid GROUP BY customer, day WINDOW w AS (PARTITION BY customer ORDER BY day)
), reached AS (
    SELECT customer, MIN(day) AS day FROM by_day WHERE orders_so_far >= 3 OR cents_so_far >= 100000 GROUP BY customer
)
SELECT c.customer, strftime('%Y-%m', c.through) AS month, date(c.through, 'start of month', '-1 month') AS list_day,
       (SELECT COUNT(*) FROM paid p WHERE p.customer = c.customer AND p.day < p.list_day),
       (SELECT COALESCE(SUM(cents), 0) FROM paid p WHERE p.customer = c.customer AND p.day < p.list_day),
       r.day
FROM cards c LEFT JOIN reached r ON r.customer = c.customer
"""


class Member(NamedTuple):
    """When his card's list is made, what it says of him, and the day on which he takes himself off it, if he does."""

    month: str
    orders: int
    cents: int
    waived: bool
    dropped_on: date | None


def expected(orders: Iterable[Order]) -> dict[str, Member]:
    with sqlite3.connect(":memory:") as base:
        base.execute("CREATE TABLE orders (customer TEXT, day TEXT, cents INTEGER)")
        base.executemany(
            "INSERT INTO orders VALUES (?, ?, ?)", [(o.customer, o.day.isoformat(), o.cents) for o in orders]
        )
        rows = base.execute(SQL).fetchall()
    base.close()
    found = {}
    for customer, month, list_day, count, cents, reached in rows:
        waived = reached is not None and reached < list_day
        dropped = date.fromisoformat(reached) if reached and not waived else None
        found[customer] = Member(month, count, cents, waived, dropped)
    return found

"""Orders to run months on: read from a file `customer,date,units,amount` and shifted ahead, or made up."""

import csv
import random
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

CYCLE = 28
"""So many years on, every date has its weekday and every leap year its place."""


@dataclass(frozen=True)
class Order:
    customer: str
    day: date
    cents: int


def read(file: Path, ahead_of: date) -> list[Order]:
    """Shifted by as many cycles as it takes for all of them to lie ahead."""
    with file.open(newline="") as rows:
        orders = [
            Order(row["customer"], date.fromisoformat(row["date"]), int(Decimal(row["amount"]) * 100))
            for row in csv.DictReader(rows)
        ]
    years = 0
    while min(order.day for order in orders).replace(day=1).year + years <= ahead_of.year:
        years += CYCLE
    return [Order(order.customer, order.day.replace(year=order.day.year + years), order.cents) for order in orders]


def made_up(customers: int, begins: date, days: int, seed: int = 6) -> list[Order]:
    """Customers whose first orders lie within two months; orders about the edges of the rule, some of nothing, some twice a day."""
    chance = random.Random(seed)
    orders = []
    for nth in range(customers):
        first = begins + timedelta(days=chance.randrange(60))
        last = begins + timedelta(days=days)
        here = [first]
        if nth % 3 == 0:  # those whose third order comes about the end of the card
            here += [
                first + timedelta(days=chance.randrange(1, 300)),
                first + timedelta(days=chance.randrange(325, 372)),
            ]
        while (
            nth % 3 and (day := here[-1] + timedelta(days=int(chance.expovariate(1 / 200)))) <= last and len(here) < 6
        ):
            here.append(day)
        for day in here + here[:1] * (nth % 7 == 0):
            cents = chance.choice((0, 1, 33333, 49999, 50000, 50001, 99999, chance.randrange(50000)))
            orders.append(Order(f"{nth:05}", day, cents))
    return sorted(orders, key=lambda order: (order.day, order.customer))

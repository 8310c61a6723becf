"""`make months DATA=…`: real orders through every month they cover; exits 1 where a member differs from the reference."""

import argparse
import asyncio
import logging
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import structlog
from pydantic import SecretStr
from sqlmodel import func, select
from temporalio.testing import WorkflowEnvironment

from activities import schema
from activities.payloads import data_converter
from models.tables import CaseRow
from settings import House, Settings
from tests.conftest import KEYS, test_server
from tests.months import orders as known
from tests.months.run import compared, run
from tests.office import Office


async def months(file: Path) -> int:
    started = monotonic()
    with tempfile.TemporaryDirectory() as data:
        house = House(Settings(data=Path(data) / "var", keys=SecretStr(KEYS)))
        schema.upgrade(house.database)
        orders = known.read(file, datetime.now(UTC).date())
        async with (
            await WorkflowEnvironment.start_time_skipping(
                data_converter=data_converter(house.keys), test_server_existing_path=test_server()
            ) as env,
            Office(env.client, house, env) as office,
        ):
            await office.worker_comes()
            await run(office, orders, lambda line: print(f"{monotonic() - started:7.0f} s  {line}", flush=True))
            table, differ = compared(office, orders)
            with house.database.reading() as session:
                kept = dict(session.exec(select(CaseRow.process, func.count()).group_by(CaseRow.process)).all())
        house.database.close()
    print(table)
    print(
        f"{len(orders)} orders, {len({o.customer for o in orders})} members, cases {kept}, {monotonic() - started:.0f} s"
    )
    print(f"members that differ from the reference: {len(differ)} {differ[:20]}")
    return 1 if differ else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    if not file.exists():
        sys.exit(f"{file}: not there. make months DATA=path/to/orders.csv, with columns customer,date,units,amount")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    sys.exit(asyncio.run(months(file)))

"""A chain that goes live: half a million members filed as audited, a fiftieth of whom expire next month. `make members`.

Nobody may hear anything of them. Prints what it took.
"""

import argparse
import csv
import resource
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path
from time import monotonic

from pydantic import SecretStr
from sqlmodel import func, select

from activities import schema
from activities.members import LocalMembers
from models.tables import CaseRow, MemberRow, NoticeRow
from settings import House, Settings
from starter.members.audits import Audits
from starter.members.files import summary, take_file
from starter.members.receipts import Receipts
from starter.submissions import Submissions
from tests.conftest import KEYS

STORES = ("SH01", "SH02", "HZ01", "GZ01", "SZ01", "BJ01")
HEADER = (
    "会员号",
    "开卡门店",
    "会员卡号",
    "姓名",
    "性别",
    "出生日期",
    "手机",
    "地址",
    "有效期起",
    "有效期至",
    "同意保存资料",
)


def month_after(day: date, months: int) -> date:
    at = day.year * 12 + day.month - 1 + months
    return date(at // 12, at % 12 + 1, 1)


def write(file: Path, members: int, expiring: int, today: date) -> str:
    """The chain's export. Returns the month in which so many of them expire."""
    soon = month_after(today, 1)
    with file.open("w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(HEADER)
        for n in range(members):
            ends = soon if n % (members // expiring) == 0 else month_after(today, 2 + n % 11)
            through = ends.replace(day=1 + n % 28)
            who = (f"HY{n:09d}", STORES[n % 6], f"88{n:010d}", "李晓雨", "女", "1990-05-17", f"1{3000000000 + n}")
            rows.writerow((*who, "上海市南京东路 1 号", through.replace(year=through.year - 1), through, "是"))
    return f"{soon:%Y-%m}"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--members", type=int, default=500_000)
    asked.add_argument("--expiring", type=int, default=10_000)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as at:
        file, settings = Path(at, "members.csv"), Settings(data=Path(at, "var"), keys=SecretStr(KEYS))
        month = write(file, given.members, given.expiring, date.today())
        house = House(settings)
        schema.upgrade(house.database)

        def clock() -> datetime:
            return datetime.now(UTC)

        submissions = Submissions(house.database, house.keys, house.people, clock)
        audits = Audits(submissions, house.keys, house.people, house.calendar, settings.policy)

        def act(what):  # type: ignore[no-untyped-def]
            with house.database.writing() as session:
                return what(session, clock())

        manager = next(person for person in house.people.people if person.role == "manager")
        receipts = Receipts(house.keys, house.people)
        report = take_file(house, audits, receipts, file, kind="existing", by=manager, write=act)
        print(summary(report, settings.zone))
        with house.database.reading() as session:
            heard = {
                table.__tablename__: session.exec(select(func.count()).select_from(table)).one()
                for table in (MemberRow, CaseRow, NoticeRow)
            }
        began = monotonic()
        expiring = sum(1 for _ in LocalMembers(house.database).expiring(month))
        print(f"{heard}; {expiring} expire in {month}, found in {monotonic() - began:.1f} s")
        usage = resource.getrusage(resource.RUSAGE_SELF)
        size = sum(part.stat().st_size for part in settings.data.glob("ledger.db*"))
        print(
            f"CPU {usage.ru_utime + usage.ru_stime:.0f} s, memory {usage.ru_maxrss // 1024} MB, ledger {size >> 20} MB"
        )
        assert heard == {"members": given.members, "cases": 0, "notices": 0}
        assert expiring == given.expiring
        house.database.close()


if __name__ == "__main__":
    main()

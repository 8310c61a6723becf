"""What those who watch have found: told to the administrators once, kept until it is gone."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlmodel import Session, col, or_, select

from models.organisation import Who
from models.people import Role
from models.tables import AlarmRow, NoticeRow, WatchRow

QUIET = timedelta(minutes=10)
"""After a notice of one kind, the next that says no more than the same cases waits so long."""
APART = timedelta(seconds=15)
"""One of a case that no notice of the last ten minutes was about waits so long, and tells of all that came meanwhile: long
enough for a round to gather, and no minute later than the thing itself."""
NAMED = 3
"""So many cases are named in a notice; `kefu doctor` names all."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Finding:
    """One thing that does not go as it should: its kind, what it is about, since when (UTC)."""

    kind: str
    about: str
    since: datetime
    case: str | None = None
    repaired: bool = False
    """It was put right as soon as it was found: still news, and gone."""
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.about}"


def keep(
    session: Session, watch: str, kinds: Collection[str], findings: Iterable[Finding], people: Who, now: datetime
) -> list[Finding]:
    """Write a round of one watch, which looked at `now`: what is gone of the kinds it looks for, what is new, and who is
    told. Returns the new.

    A thing is told once, however many rounds find it. Told again only when it was gone and has come back.
    """
    found = {finding.key: finding for finding in findings}
    new = dict(found)
    looked_at = {*kinds, *(finding.kind for finding in found.values())}
    is_open = col(AlarmRow.cleared_at).is_(None)
    for alarm in session.exec(select(AlarmRow).where(is_open, col(AlarmRow.kind).in_(looked_at))):
        if alarm.key in found:
            del new[alarm.key]
            if found[alarm.key].repaired:
                alarm.cleared_at = alarm.raised_at
        elif (
            alarm.kind in kinds and alarm.raised_at < now
        ):  # another watch may have looked after us, and written before
            alarm.cleared_at = now
    if new:
        gone_since = select(AlarmRow.key).where(col(AlarmRow.cleared_at) >= now, col(AlarmRow.key).in_(new))
        for key in set(session.exec(gone_since)):
            del new[key]
    session.add_all(
        AlarmRow(
            key=finding.key,
            kind=finding.kind,
            case_id=finding.case,
            data=finding.data,
            since=finding.since,
            raised_at=now,
            cleared_at=now if finding.repaired else None,
        )
        for finding in new.values()
    )
    session.flush()
    for kind in sorted(looked_at):
        _tell(session, kind, people, now)
    session.merge(WatchRow(name=watch, at=now))
    return list(new.values())


def _tell(session: Session, kind: str, people: Who, now: datetime) -> None:
    """One notice for all that nobody was told of yet, unless it is too soon. What went by itself is no news any more."""
    is_news = or_(col(AlarmRow.cleared_at).is_(None), AlarmRow.cleared_at == AlarmRow.raised_at)
    of_kind = select(AlarmRow).where(AlarmRow.kind == kind, col(AlarmRow.told_at).is_(None), is_news)
    untold = list(session.exec(of_kind.order_by(col(AlarmRow.since), col(AlarmRow.id))))
    if not untold or not _is_time(session, kind, untold, now):
        return
    cases = list(dict.fromkeys(alarm.case_id for alarm in untold if alarm.case_id))
    first = min(alarm.id or 0 for alarm in untold)
    for person in people.people:
        if person.role is Role.ADMINISTRATOR:
            session.add(
                NoticeRow(
                    person=person.id,
                    key=f"alarm/{first}",
                    what="alarm",
                    case_id=cases[0] if len(cases) == 1 else None,
                    created_at=now,
                    delivered_at=now,
                    data={
                        "alarm": kind,
                        "count": len(untold),
                        "cases": cases[:NAMED],
                        "since": untold[0].since.isoformat(),
                    },
                )
            )
    for alarm in untold:
        alarm.told_at = now


def _is_time(session: Session, kind: str, untold: Iterable[AlarmRow], now: datetime) -> bool:
    """Whether the quiet is over, or broken by a case of which nobody was told meanwhile."""
    told = session.exec(select(AlarmRow).where(AlarmRow.kind == kind, col(AlarmRow.told_at) > now - QUIET)).all()
    if any(alarm.told_at and alarm.told_at > now - APART for alarm in told):
        return False
    return not told or bool({_subject(alarm) for alarm in untold} - {_subject(alarm) for alarm in told})


def _subject(alarm: AlarmRow) -> str:
    return alarm.case_id or alarm.key


def report(findings: Iterable[Finding]) -> None:
    """Say new findings in the log: ids and codes only."""
    for finding in findings:
        log.error(
            "alarm",
            alarm=finding.kind,
            about=finding.about,
            case=finding.case,
            since=finding.since.isoformat(),
            repaired=finding.repaired,
        )

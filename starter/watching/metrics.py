"""`GET /metrics`: how the desk is doing, in numbers. Read from the ledger at each scrape; nothing of a case, nobody's name."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeHistogramMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlmodel import Session, case, col, func, select

from activities.database import Database
from models.tables import AlarmRow, CaseRow, DeadlineRow, DeliveryRow, SubmissionRow, TaskRow, WatchRow
from starter.access import of_the_department
from starter.members import watching
from starter.organisation.staffing import NO_MANAGER
from starter.watching import canary, lateness, postwatch, reconciler, watchdog
from starter.watching.watchdog import overdue, unsent

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
STATES = ("open", "archived")
ALARMS = (
    *watchdog.KINDS,
    *reconciler.REPAIRED,
    *reconciler.NAMED,
    *reconciler.GLANCED,
    *postwatch.KINDS,
    *canary.KINDS,
    *watching.KINDS,
    NO_MANAGER,
)
PERIOD = timedelta(days=1)
"""Lateness is that of the last day: a scrape reads no more of the ledger, every process says the same, and an hour without
a rung is no gap. It goes down again, so it is asked for as it stands, without `rate`."""
BUCKETS = (0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 300, 900, 3600, 14400, 43200, 86400)
"""Seconds. What is promised is 1 (p99) and 5 at most, 15 after a fault; hours are quiet hours, or an outage."""


def exposition(database: Database, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> bytes:
    """All of it, in the text format of Prometheus."""
    registry = CollectorRegistry()
    registry.register(_Ledger(database, clock))
    return generate_latest(registry)


class _Ledger(Collector):
    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def describe(self) -> list[Metric]:
        return []  # registering asks nothing of the ledger

    def collect(self) -> Iterator[Metric]:
        with self._database.reading() as session:
            now = self._clock()
            cases = _counted(session, CaseRow.state, of_the_department())
            yield _by("cases", "Cases, by state.", "state", dict.fromkeys(STATES, 0) | cases)
            yield from self._tasks(session, now)
            yield from self._submissions(session, now)
            rungs = session.exec(select(func.count()).select_from(overdue(now).subquery())).one()
            yield _one("rungs_overdue", "Reminders and escalations that are due and have not fired.", rungs)
            notices = session.exec(select(func.count()).select_from(unsent().subquery())).one()
            yield _one("notices_unsent", "Notices that nothing holds up and that have not gone out.", notices)
            yield from self._lateness(session, now)
            yield from self._alarms(session)
            watches = session.exec(select(WatchRow))
            ages = {watch.name: _seconds(now - watch.at) for watch in watches}
            yield _by("watch_age_seconds", "Seconds since each watch finished a round.", "watch", ages)

    def _tasks(self, session: Session, now: datetime) -> Iterator[Metric]:
        late = func.coalesce(func.sum(case((TaskRow.due_at < now, 1), else_=0)), 0)
        tasks, tasks_late = session.exec(
            select(func.count(), late).where(TaskRow.state == "open", col(TaskRow.by_itself).is_(False))
        ).one()
        yield _one("tasks_open", "Tasks that somebody owes.", tasks)
        yield _one("tasks_overdue", "Open tasks whose due time has passed.", tasks_late)

    def _submissions(self, session: Session, now: datetime) -> Iterator[Metric]:
        came_at = case(
            (col(CaseRow.entered_at) > SubmissionRow.recorded_at, CaseRow.entered_at), else_=SubmissionRow.recorded_at
        )
        pending, oldest = session.exec(
            select(func.count(), func.min(came_at))
            .select_from(SubmissionRow)
            .join(CaseRow)
            .where(SubmissionRow.state == "pending")
        ).one()
        yield _one("submissions_pending", "Submissions that are not decided yet.", pending)
        waits = _seconds(now - oldest) if oldest else 0
        yield _one(
            "submission_oldest_pending_seconds", "How long the oldest of them has waited; 0 where there is none.", waits
        )

    def _lateness(self, session: Session, now: datetime) -> Iterator[Metric]:
        """The system's. That people are late is `tasks_overdue`, and not in it."""
        lately = now - PERIOD
        fired = lateness.fired(session, col(DeadlineRow.fired_at) > lately)
        says = "Rungs of the last day: seconds from when one could fire until it did."
        yield GaugeHistogramMetricFamily("kefu_rung_lateness_seconds", says, *_histogram(fired))
        says = "Their notices of the last day: seconds until a channel had taken one, quiet hours and all."
        family = GaugeHistogramMetricFamily("kefu_notice_lateness_seconds", says, labels=["channel"])
        for channel, late in lateness.delivered(session, col(DeliveryRow.delivered_at) > lately).items():
            family.add_metric([channel], *_histogram(late))
        yield family

    def _alarms(self, session: Session) -> Iterator[Metric]:
        raised = dict.fromkeys(ALARMS, 0) | _counted(session, AlarmRow.kind)
        still = dict.fromkeys(raised, 0) | _counted(session, AlarmRow.kind, col(AlarmRow.cleared_at).is_(None))
        yield _by("alarms_open", "Alarms that are not cleared, by kind.", "kind", still)
        total = CounterMetricFamily(
            "kefu_alarms_raised", "Alarms raised since there is this ledger, by kind.", labels=["kind"]
        )
        for kind, count in raised.items():
            total.add_metric([kind], count)
        yield total


def _counted(session: Session, by: Any, *where: Any) -> dict[str, int]:
    return dict(session.exec(select(by, func.count()).where(*where).group_by(by)).all())


def _one(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(f"kefu_{name}", says, value)


def _by(name: str, says: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"kefu_{name}", says, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _histogram(lateness: Sequence[timedelta]) -> tuple[list[tuple[str, float]], float]:
    """How many are in each bucket or one below, and the sum of all."""
    seconds = [late.total_seconds() for late in lateness]
    counts = [(f"{most:g}", float(sum(late <= most for late in seconds))) for most in BUCKETS]
    return [*counts, ("+Inf", float(len(seconds)))], sum(seconds)


def _seconds(span: timedelta) -> float:
    return max(span.total_seconds(), 0.0)

"""What a Schedule starts: a few lines that have an activity open the cases of the period. No case itself, and nothing waits in it."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import SearchAttributeKey

from activities.opening import Due, Openings

SCHEDULED_AT = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")
"""Which instant of its calendar a Schedule means, however late it starts this."""


@workflow.defn(name="opening")
class OpeningWorkflow:
    @workflow.run
    async def run(self, due: Due) -> int:
        """How many cases were opened that were not there yet."""
        at = due.at or workflow.info().typed_search_attributes.get(SCHEDULED_AT) or workflow.info().start_time
        return await workflow.execute_activity_method(
            Openings.open_period,
            Due(process=due.process, at=at),
            start_to_close_timeout=timedelta(minutes=10),
            heartbeat_timeout=timedelta(seconds=30),
        )

"""A worker that is killed (-9) right after a chosen activity has committed, before the workflow task that ran it is reported."""

import asyncio
import os
import signal
import sys
from typing import Any

from temporalio import activity
from temporalio.client import Client

import worker
from activities.ledger import Ledger
from activities.payloads import data_converter
from models.entries import DueRung, Fired, Recording
from settings import House, Settings


class DoomedLedger(Ledger):
    """The ledger as it is, and then the end."""

    dies_after = ""

    def _end(self, method: str) -> None:
        if method == self.dies_after:
            os.kill(os.getpid(), signal.SIGKILL)

    @activity.defn
    def record(self, recording: Recording) -> None:
        super().record(recording)
        self._end("record")

    @activity.defn
    def fire(self, due: DueRung) -> Fired:
        fired = super().fire(due)
        if fired.at:
            self._end("fire")
        return fired


async def main(address: str, task_queue: str, dies_after: str) -> Any:
    house = House(Settings())
    client = await Client.connect(address, data_converter=data_converter(house.keys))
    ledger = DoomedLedger(house.database, house.keys, house.people)
    ledger.dies_after = dies_after
    async with worker.build(client, ledger, task_queue=task_queue):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

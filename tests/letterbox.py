"""A real mail server on loopback, and what its mailboxes hold."""

import email
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP
from pydantic import SecretStr

from models.tables import NoticeRow
from settings import House
from starter.post.sender import Sender
from tests.conftest import free_port
from tests.office import Office

NOTICE = re.compile(r"消息 (\d+)")
ACCEPTED = "250 OK"
NOON = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
"""Twelve o'clock in Shanghai."""


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, at: datetime = NOON) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def pass_time(self, span: timedelta) -> None:
        self.at += span


def tell(house: House, at: datetime, person: str = "lin", what: str = "major", times: int = 1, **row: Any) -> list[int]:
    """Notices as the ledger writes them: delivered to the inbox at this instant."""
    with house.database.writing() as session:
        rows = [
            NoticeRow(
                **{"person": person, "key": f"{what}/{at}/{n}", "what": what, "data": {}, **row},
                created_at=at,
                delivered_at=at,
            )
            for n in range(times)
        ]
        session.add_all(rows)
        session.flush()
        return [row.id or 0 for row in rows]


class MailServer:
    """Takes what comes, unless `answer` says otherwise: for a recipient, the reply to RCPT or, once it has the message, to DATA."""

    def __init__(self) -> None:
        self.port = free_port()
        self.boxes: dict[str, list[EmailMessage]] = defaultdict(list)
        self.arrived: list[tuple[str, str]] = []
        """To whom, and what, in the order it came."""
        self.at_recipient: Callable[[str], str] = lambda _to: ACCEPTED
        self.at_data: Callable[[str], str] = lambda _to: ACCEPTED
        self._controller: Controller | None = None

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def open(self) -> None:
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    def close(self) -> None:
        if self._controller:
            self._controller.stop()
            self._controller = None

    async def handle_RCPT(self, _server: SMTP, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        answer = self.at_recipient(address)
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, _server: SMTP, _session: Any, envelope: Any) -> str:  # noqa: N802
        [to] = envelope.rcpt_tos
        answer = self.at_data(to)
        if answer.startswith("250"):
            message = email.message_from_bytes(envelope.content, policy=default)
            assert isinstance(message, EmailMessage)
            self.boxes[to].append(message)
            self.arrived.append((to, message.get_content()))
        return answer

    def about(self, number: str, *said: str) -> list[tuple[str, str]]:
        """What came of a case by its number, where it says one of these, in order: whose mailbox, and which of them."""
        return [
            (to.partition("@")[0], words)
            for to, text in self.arrived
            for line in text.splitlines()
            for words in said
            if number in line and words in line
        ]

    def texts(self, to: str) -> list[str]:
        return [mail.get_content() for mail in self.boxes[to]]

    def notices(self, to: str, *, doubtful: bool | None = None) -> Counter[int]:
        """How often each notice lies in a mailbox; of all messages, or of those marked as possible duplicates or not."""
        mails = [mail for mail in self.boxes[to] if doubtful in (None, mail["X-Kefu-Possible-Duplicate"] == "yes")]
        return Counter(int(found) for mail in mails for found in NOTICE.findall(mail.get_content()))


def post_of(office: Office, mail: MailServer, **settings: Any) -> Sender:
    """The post room of an office: what is told there goes out over a mail server."""
    more = {"smtp": SecretStr(mail.url), "mail_from": "desk@kefu.example", **settings}
    return Sender(House(office.house.settings.model_copy(update=more)), office.now)


@contextmanager
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    server.open()
    try:
        yield server
    finally:
        server.close()

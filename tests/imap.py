"""A real IMAP server on loopback, and people who write to its mailbox."""

import imaplib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from time import monotonic, sleep

from tests.conftest import free_port

CARE = "care@kefu.example"
START_WITHIN = 20.0


class MailDrop:
    """The complaint mailbox."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"imap://care:secret@127.0.0.1:{self.port}/INBOX"

    def open(self) -> None:
        """Start it, empty: it keeps its mailboxes in memory, and numbers messages anew each time."""
        program = "from pymap.main import main; raise SystemExit(main())"
        command = [sys.executable, "-W", "ignore", "-c", program, "--host", "127.0.0.1", "--port", str(self.port)]
        self._process = subprocess.Popen(
            [*command, "--no-tls", "dict", "--demo-user", "care", "--demo-password", "secret"]
        )
        end = monotonic() + START_WITHIN
        while True:
            try:
                imaplib.IMAP4("127.0.0.1", self.port).logout()
                return
            except OSError:
                if monotonic() > end:
                    raise
                sleep(0.05)

    def close(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def _client(self) -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", self.port)
        client.login("care", "secret")
        client.select("INBOX")
        return client

    def receives(self, mail: EmailMessage | bytes, at: datetime, *, seen: bool = False) -> None:
        """A mail arrives in the mailbox."""
        client = self._client()
        raw = mail if isinstance(mail, bytes) else mail.as_bytes(policy=SMTP)
        status, _ = client.append("INBOX", r"(\Seen)" if seen else "", imaplib.Time2Internaldate(at), raw)
        assert status == "OK"
        client.logout()

    def unseen(self) -> int:
        client = self._client()
        _, [found] = client.search(None, "UNSEEN")
        client.logout()
        return len(found.split())


@contextmanager
def mail_drop() -> Iterator[MailDrop]:
    drop = MailDrop()
    drop.open()
    try:
        yield drop
    finally:
        drop.close()


def letter(
    text: str = "羽绒服穿了两次就跑绒，要求退货。",
    subject: str = "投诉羽绒服",
    message_id: str | None = "<1@customer.example>",
    sender: str = "张小红 <zhang@customer.example>",
    **headers: str,
) -> EmailMessage:
    """A customer's mail."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, CARE, subject
    if message_id:
        mail["Message-ID"] = message_id
    for name, value in headers.items():
        mail[name.replace("_", "-")] = value
    mail.set_content(text)
    return mail

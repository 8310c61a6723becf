"""Mail, over the server of the settings. Its Message-ID is the idempotency key; what was accepted when is known exactly."""

import smtplib
import ssl
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import cache
from typing import Self
from urllib.parse import unquote, urlsplit

import structlog

from settings import LOOPBACK, Settings
from starter.post.tray import DELIVERED, UNREACHABLE, Verdict
from starter.post.wording import Message

TIMEOUT = 20.0
"""Seconds for each step of the conversation."""
DOUBT = "X-Kefu-Possible-Duplicate"

log = structlog.get_logger()


class Smtp:
    """The mail server that takes what we send."""

    remembers = timedelta(0)

    def __init__(self, url: str, sender: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._tls_at_once = parts.scheme == "smtps"
        self._port = parts.port or (465 if self._tls_at_once else 587)
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self.sender = sender

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """None where the settings name no server."""
        if settings.smtp is None or settings.mail_from is None:
            return None
        return cls(settings.smtp.get_secret_value(), settings.mail_from)

    @property
    def domain(self) -> str:
        return self.sender.rpartition("@")[2]

    def send(self, address: str, message: Message) -> Verdict:
        """A notice to `mailto:…`."""
        mail = EmailMessage()
        mail["Subject"] = message.subject
        mail["Message-ID"] = notice_id(message.key, self.domain)
        mail["Auto-Submitted"] = "auto-generated"
        if message.doubtful:
            mail[DOUBT] = "yes"
        mail.set_content(message.text)
        return self.hand_over(mail, address.removeprefix("mailto:"))

    def hand_over(self, mail: EmailMessage, to: str) -> Verdict:
        """Complete a mail with its sender, its recipient and the date, and send it."""
        try:
            mail["From"] = Address("客服", addr_spec=self.sender)
            mail["To"] = Address(addr_spec=to)
            mail["Date"] = format_datetime(datetime.now().astimezone())
            body = mail.as_bytes(policy=SMTP)
        except (ValueError, IndexError):  # an address that is none
            return Verdict("never", "address")
        try:
            with self._connected() as server:
                return _sent(server, self.sender, to, body)
        except smtplib.SMTPAuthenticationError:
            log.error("mail.login_refused")
            return Verdict("later", "login")
        except (OSError, smtplib.SMTPException):
            return Verdict("later", UNREACHABLE)

    def _connected(self) -> smtplib.SMTP:
        server: smtplib.SMTP
        if self._tls_at_once:
            server = smtplib.SMTP_SSL(self._host, self._port, timeout=TIMEOUT, context=_context())
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=TIMEOUT)
        try:
            if not self._tls_at_once and self._host not in LOOPBACK:
                server.starttls(context=_context())
            if self._user:
                server.login(self._user, self._password)
        except BaseException:
            server.close()
            raise
        return server


@cache
def _context() -> ssl.SSLContext:
    """Made once: reading the system's certificates takes longer than a mail."""
    return ssl.create_default_context()


def _sent(server: smtplib.SMTP, sender: str, to: str, body: bytes) -> Verdict:
    """One conversation, step by step: only when the whole message was on its way can it be in doubt."""
    server.ehlo_or_helo_if_needed()
    code, _ = server.mail(sender)
    if code != 250:
        return Verdict("later", f"sender_{code}")
    code, _ = server.rcpt(to)
    if code not in (250, 251):
        return Verdict("never" if 500 <= code < 600 else "later", f"recipient_{code}")
    try:
        code, _ = server.data(body)
    except smtplib.SMTPDataError as error:  # not even asked for it
        return Verdict("later", f"data_{error.smtp_code}")
    except (OSError, smtplib.SMTPServerDisconnected):
        return Verdict("unsure", "broke_off")
    if code == 250:
        return DELIVERED
    return Verdict("never" if 500 <= code < 600 else "later", f"data_{code}")


def notice_id(key: str, domain: str) -> str:
    return f"<{key}.notice@{domain}>"

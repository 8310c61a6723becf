"""The channels: each takes one message to one address, and says what it made of it."""

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Protocol

import apprise
from apprise.result import AppriseResultStatus

from models.reach import ReachBook
from settings import Settings
from starter.post.messengers import Dingtalk, Feishu, Sms, Wecom
from starter.post.smtp import Smtp
from starter.post.tray import DELIVERED, Verdict
from starter.post.wording import Message

MOST = {"email": 100, "sms": 100}
"""Notices in one message, where a channel takes more than the others."""
MOST_ELSEWHERE = 8

logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it would name addresses, and keys in them


class Channel(Protocol):
    """Somewhere a message can go. `remembers` says how long it knows a message's key, and takes it once only."""

    remembers: timedelta

    def send(self, address: str, message: Message) -> Verdict:
        """Hand a message over. Nothing is raised."""
        ...


class Others:
    """Whatever Apprise knows: one address a call, so that a failing one sends no other again."""

    remembers = timedelta(0)

    def send(self, address: str, message: Message) -> Verdict:
        if address.startswith(("json://", "jsons://")):
            address += f"{'&' if '?' in address else '?'}+Idempotency-Key={message.key}"
        channel = apprise.Apprise()
        if not channel.add(address):
            return Verdict("never", "address")
        result = channel.notify(title=message.subject, body=message.text)
        if result:
            return DELIVERED
        return Verdict("unsure" if result.status is AppriseResultStatus.TIMEOUT else "later", "refused")


class Unset:
    """A kind of channel whose account nobody has set."""

    remembers = timedelta(0)

    def send(self, address: str, message: Message) -> Verdict:
        return Verdict("never", "no_account")


def channels_of(settings: Settings, book: ReachBook) -> Mapping[str, Channel]:
    """The channels there are, by kind. What is not among them is Apprise's."""
    accounts: dict[str, Channel | None] = {
        "email": Smtp.of(settings),
        "wecom": Wecom(book.wecom) if book.wecom else None,
        "dingtalk": Dingtalk(book.dingtalk) if book.dingtalk else None,
        "feishu": Feishu(book.feishu) if book.feishu else None,
        "sms": Sms(book.sms) if book.sms else None,
    }
    return {kind: channel or Unset() for kind, channel in accounts.items()}

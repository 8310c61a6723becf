"""The member system's webhook: one record at a time, signed as Standard Webhooks has it, and each message taken once for ever."""

import binascii
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from sqlmodel import Session
from standardwebhooks import Webhook, WebhookVerificationError

from models.forms import Code, FieldError
from models.members import MemberRecord, PurchaseRecord
from models.tables import MessageRow
from starter.members.audits import Audits
from starter.members.receipts import Receipts
from starter.refusals import Invalid, Unauthenticated, field_errors


class MemberMessage(BaseModel):
    """A member who is new, or of whom anything has changed."""

    model_config = ConfigDict(extra="ignore")
    type: Literal["member"]
    data: MemberRecord


class PurchaseMessage(BaseModel):
    """A receipt of a member, or a refund."""

    model_config = ConfigDict(extra="ignore")
    type: Literal["purchase"]
    data: PurchaseRecord


MESSAGES: dict[str, type[MemberMessage | PurchaseMessage]] = {"member": MemberMessage, "purchase": PurchaseMessage}
_ID: TypeAdapter[str] = TypeAdapter(Code)


class Answer(BaseModel):
    """What became of a message. `known`: it, or what it says, was taken before."""

    taken: Literal["new", "changed", "known"]
    member: str | None = None
    case: str | None = None
    """The audit the member is in."""


def verified(secret: str, headers: Mapping[str, str], body: bytes) -> str:
    """The id of a message whose signature is right and whose time is within five minutes of ours. Unauthenticated otherwise."""
    try:
        Webhook(secret).verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError, binascii.Error) as error:
        raise Unauthenticated("bad_signature") from error
    try:
        return _ID.validate_python(headers.get("webhook-id"))
    except ValidationError as error:
        raise Invalid([FieldError(field="webhook-id", code="string_pattern_mismatch")]) from error


def read(body: bytes) -> MemberMessage | PurchaseMessage:
    """What a message says. Invalid names each field that does not hold."""
    try:
        document = json.loads(body)
    except ValueError as error:
        raise Invalid([FieldError(field="body", code="json_invalid")]) from error
    kind = MESSAGES.get(str(document.get("type"))) if isinstance(document, dict) else None
    if kind is None:
        raise Invalid([FieldError(field="type", code="literal_error", values={"expected": ", ".join(MESSAGES)})])
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise Invalid(field_errors(error.errors(), kind)) from error


def take(
    session: Session,
    now: datetime,
    audits: Audits,
    receipts: Receipts,
    id: str,
    message: MemberMessage | PurchaseMessage,
) -> Answer:
    """Take a message, unless its id was taken before."""
    if session.get(MessageRow, id):
        return Answer(taken="known")
    session.add(MessageRow(id=id, at=now, kind=message.type))
    match message:
        case MemberMessage(data=record):
            taken = audits.register.take(session, now, record)
        case PurchaseMessage(data=receipt):
            taken = receipts.take(session, now, receipt)
    return Answer(taken=taken.what, member=taken.id, case=taken.case)

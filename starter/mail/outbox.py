"""Letters to customers: a reply or a solution handed in on a case that came by mail goes out in answer to it, once."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any

import structlog
from pydantic import TypeAdapter
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, exists, select

from activities.database import once_more
from activities.submissions import unsealed
from models.tables import CaseRow, LetterRow, SubmissionRow
from models.words import choice, label, say
from settings import House
from starter.mail import letters
from starter.mail.intake import post
from starter.post.smtp import DOUBT, Smtp
from starter.post.tray import Verdict, ready, settle, take

CARRIED = ("reply", "solution", "solve", "agreed_reply")
"""The forms whose words are for the customer."""
PATIENCE = timedelta(hours=24)
AT_ONCE = 50

log = structlog.get_logger()


@dataclass(frozen=True)
class Envelope:
    """A letter in this sender's hands."""

    id: str
    to: str
    mail: EmailMessage


class Outbox:
    """Writes the letters and sends them. Any number may do so side by side: a submission has one letter."""

    def __init__(self, house: House, clock: Callable[[], datetime], smtp: Smtp | None = None) -> None:
        self._house = house
        self._database = house.database
        self._keys = house.keys
        self._clock = clock
        self._smtp = smtp or Smtp.of(house.settings)
        self._holder = secrets.token_hex(4)

    def round(self) -> int:
        """Write what is to be written, send what is due. How many were delivered."""
        if self._smtp is None or self._is_idle():
            return 0
        self._write()
        delivered = 0
        envelope = self.next()
        while envelope:
            verdict = self._smtp.hand_over(envelope.mail, envelope.to) if envelope.to else Verdict("never", "address")
            log.info("letter.sent", letter=envelope.id, taken=verdict.taken, why=verdict.why)
            delivered += verdict.taken == "delivered"
            envelope = self.settle(envelope, verdict)
        return delivered

    def _is_idle(self) -> bool:
        with self._database.reading() as session:
            due = select(LetterRow.id).where(ready(LetterRow, self._clock()), LetterRow.sealed != b"").limit(1)
            return session.exec(self._unwritten().limit(1)).first() is None and session.exec(due).first() is None

    def _unwritten(self) -> Any:
        """Decided forms for the customer, in cases that came by mail, that no letter carries yet."""
        asked = aliased(LetterRow)
        came = exists().where(
            col(asked.case_id) == SubmissionRow.case_id,
            col(asked.came),
            col(asked.at) <= col(SubmissionRow.recorded_at),  # what was said before, he was told in another way
            col(asked.what).in_(("opened", "reopened", "unreadable")),
            col(asked.sealed) != b"",  # an erased case has nobody to write to
        )
        carried = exists().where(col(LetterRow.submission) == SubmissionRow.id)
        return (
            select(SubmissionRow)
            .where(SubmissionRow.state == "decided", col(SubmissionRow.form).in_(CARRIED), came, ~carried)
            .order_by(col(SubmissionRow.recorded_at))
        )

    @once_more
    def _write(self) -> None:
        with self._database.writing() as session:
            now = self._clock()
            for sent in session.exec(self._unwritten().limit(AT_ONCE)):
                case = session.get_one(CaseRow, sent.case_id)
                of_case = select(LetterRow).where(LetterRow.case_id == case.id, col(LetterRow.came))
                readable = of_case.where(LetterRow.sealed != b"").order_by(col(LetterRow.at).desc())
                latest = session.exec(readable.limit(1)).one()
                text = self._text(case, sent)
                post(session, self._house, case, latest, sent.form, text, now, sent.id)

    def next(self) -> Envelope | None:
        """Claim the letter that goes out next; None when nothing is due."""
        with self._database.writing() as session:
            return self._claim(session)

    def settle(self, envelope: Envelope, verdict: Verdict) -> Envelope | None:
        """Write what became of a letter, and claim the next. Its owner hears where it did not arrive."""
        with self._database.writing() as session:
            now = self._clock()
            row = session.get_one(LetterRow, envelope.id)
            if settle([row], verdict, now, PATIENCE) == "undeliverable" and row.what != "receipt":
                case = session.get_one(CaseRow, row.case_id)
                letters.tell_owner(session, self._house.people, case, "letter_failed", row.id, now, form=row.what)
            session.flush()
            return self._claim(session)

    def _claim(self, session: Session) -> Envelope | None:
        now = self._clock()
        query = (
            select(LetterRow)
            .where(ready(LetterRow, now), LetterRow.sealed != b"")
            .order_by(col(LetterRow.next_try_at), col(LetterRow.id))
        )
        row = session.exec(query.limit(1).with_for_update(skip_locked=True)).first()
        if row is None:
            return None
        doubtful = take([row], self._holder, now)
        content = letters.content_of(self._keys, row)
        mail = EmailMessage()
        mail["Subject"] = content["subject"]
        mail["Message-ID"] = content["message_id"]
        mail["In-Reply-To"] = content["in_reply_to"]
        mail["References"] = " ".join(content["references"])
        if row.what == "receipt":
            mail["Auto-Submitted"] = "auto-replied"
            mail["X-Auto-Response-Suppress"] = "All"
        if doubtful:
            mail[DOUBT] = "yes"
        mail.set_content("\n\n".join([content["text"], *([say("letter", "doubtful", "zh")] if doubtful else [])]))
        return Envelope(row.id, content["to"], mail)

    def _text(self, case: CaseRow, sent: SubmissionRow) -> str:
        """What the customer reads: the words of the form, as the department's letters are."""
        content = unsealed(sent, self._keys)
        closing = say("letter", "closing", "zh", number=case.number)
        if sent.form in ("reply", "agreed_reply"):
            return "\n\n".join([say("letter", "reply", "zh", content=content["content"]), closing])
        lines = "\n".join(_lines(sent.form, content, ("steps", "duration", "effect", "remedy", "amount", "execution")))
        if sent.form == "solution":
            return "\n\n".join([say("letter", "solution", "zh", lines=lines), closing])
        reply = [say("letter", "reply", "zh", content=content["reply"])] if content.get("reply") else []
        return "\n\n".join([*reply, say("letter", "solved", "zh", lines=lines), closing])


def _lines(form: str, content: dict[str, Any], fields: tuple[str, ...]) -> list[str]:
    said = {name: content[name] for name in fields if content.get(name) not in (None, "", "0", "0.00")}
    return [say("letter", "line", "zh", label=label(form, name), value=_value(form, name, said[name])) for name in said]


def _value(form: str, name: str, value: Any) -> str:
    if name == "duration":
        span = TypeAdapter(timedelta).validate_python(value)
        hours = round(span / timedelta(hours=1))
        return say("screen", "days", "zh", n=hours // 24) if hours % 24 == 0 else say("screen", "hours", "zh", n=hours)
    return choice(form, name, str(value), "zh")

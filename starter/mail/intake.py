"""What a mail becomes: a case to be sorted, a part of the case it answers, or nothing: once, whoever reads the mailbox how often.

1. A mail that is known is what it became. 2. What we sent ourselves, and what a machine wrote, opens nothing and is
answered by nothing; a bounce is noted at the letter that did not arrive. 3. A mail belongs to the case of the letter it
answers, or to the one its subject names. 4. Where that was closed lately, it is opened again; where long ago, the mail opens
a new one that names the earlier. 5. Every other mail opens a case, also one that cannot be read. All of it is one transaction.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlmodel import Session, col, func, select

from activities.database import once_more
from models import policy
from models.complaint import COMPLAINT
from models.complaint.facts import Complaint, ComplaintIntake, Customer
from models.complaint.forms import Amend
from models.people import MAILBOX
from models.tables import CaseRow, CustomerRow, DeliveryRow, LetterRow, SubmissionRow
from models.words import say
from settings import House
from starter.mail import letters
from starter.mail.reading import Mail
from starter.numbers import normal
from starter.post.sorting import Sorter
from starter.refusals import Conflict, Invalid
from starter.reopening import is_over, numbered
from starter.submissions import Submissions

TO_BE_SORTED = "待分拣"
"""The category of a case that nobody has looked at."""
LONGEST = 7800
"""Characters of a mail in a form; the letter keeps the rest."""
LONGEST_KEPT = 200_000
A_DAY = timedelta(days=1)
RECEIPTS_A_DAY = 3
"""To one address: two machines that thank each other come to an end."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Taken:
    """What a mail became."""

    letter: str
    what: str
    case: str | None
    settled: bool
    """Nothing is left to do with its attachments."""


class Intake:
    """Takes mails in. `clock` gives the present instant, UTC."""

    def __init__(self, house: House, clock: Callable[[], datetime]) -> None:
        self._house = house
        self._database = house.database
        self._keys = house.keys
        self._people = house.people
        self._clock = clock
        self._submissions = Submissions(house.database, house.keys, house.people, clock, house.settings.policy)
        self._sorter = Sorter(house.reached, house.calendar)
        self._ours = (house.settings.mail_from or "").lower()

    @once_more
    def take(self, mail: Mail, arrived_at: datetime, unreadable: str | None = None) -> Taken:
        """Take a mail that arrived at an instant (UTC). `unreadable` says why nothing but its headers is known."""
        with self._database.writing() as session:
            known = letters.find(session, self._keys, [mail.message_id])
            row = known or self._take(session, mail, min(arrived_at, self._clock()), unreadable)
            return Taken(row.id, row.what, row.case_id, row.settled)

    def settle(self, letter: str, left: list[dict[str, str]]) -> None:
        """Its attachments have been seen to; those in `left` were not taken."""
        with self._database.writing() as session:
            row = session.get_one(LetterRow, letter)
            if row.settled:
                return
            row.settled = True
            if left and row.case_id:
                case = session.get_one(CaseRow, row.case_id)
                case.keys = self._keys.noted(case.keys)
                letters.seal(self._keys, row, {**letters.content_of(self._keys, row), "left": left})

    def once_again(self) -> int:
        """Letters whose case would not take them any more, as it was being closed: each opens a case of its own. How many."""
        refused = (
            select(LetterRow.id)
            .join(SubmissionRow, col(SubmissionRow.id) == col(LetterRow.submission))
            .where(LetterRow.what == "added", SubmissionRow.state == "refused")
        )
        with self._database.reading() as session:
            if session.exec(refused.limit(1)).first() is None:
                return 0
        with self._database.writing() as session:
            rows = [session.get_one(LetterRow, letter) for letter in session.exec(refused)]
            for row in rows:
                self._open_anew(session, row)
        return len(rows)

    # What it becomes

    def _take(self, session: Session, mail: Mail, at: datetime, unreadable: str | None) -> LetterRow:
        if mail.bounce:
            return self._bounced(session, mail, at)
        if mail.sender and mail.sender == self._ours:
            return self._set_aside(session, mail, at, "own")
        if mail.automatic:
            return self._set_aside(session, mail, at, "automatic")
        case = self._answered(session, mail)
        said = _unreadable(mail, unreadable) if unreadable else _content(mail)
        if case and case.state == "open" and not is_over(session, case):
            return self._add(session, mail, at, case, said)
        return self._open(session, mail, at, said, "unreadable" if unreadable else "opened", case)

    def _answered(self, session: Session, mail: Mail) -> CaseRow | None:
        """The case that a mail belongs to: of the letter it answers, or the one that its subject names."""
        row = letters.find(session, self._keys, mail.references)
        named = row.case_id if row and row.case_id else letters.named_in(session, mail.subject)
        return session.get(CaseRow, named) if named else None

    def _add(self, session: Session, mail: Mail, at: datetime, case: CaseRow, said: str) -> LetterRow:
        """To a running complaint, as what the customer adds to his matter. Its owner hears."""
        row = self._letter(session, mail, at, "added", case.id)
        act = Amend(content=said)
        sent = self._submissions.add_in(session, COMPLAINT, case.id, act, MAILBOX, key=f"letter-{row.id}")
        row.submission = sent.submission
        letters.tell_owner(session, self._people, case, "letter", row.id, self._clock())
        log.info("letter.added", case=case.id, letter=row.id)
        return row

    def _open(
        self,
        session: Session,
        mail: Mail,
        at: datetime,
        said: str,
        what: str = "opened",
        earlier: CaseRow | None = None,
    ) -> LetterRow:
        facts = Complaint(
            form_no=mail.number,
            kind="complaint",
            channel="email",
            received_at=max(at, self._oldest()),
            category=TO_BE_SORTED,
            content=said,
            customer=Customer(name=mail.name or None, email=mail.reply_to or mail.sender or None),
            earlier=earlier.number if earlier else None,
        )
        try:
            opened = self._submissions.open_in(session, COMPLAINT, facts, MAILBOX)
        except Conflict:  # somebody has typed this very number; the mail is his case's
            known = session.exec(numbered(COMPLAINT.name, facts.number)).one()
            return self._add(session, mail, at, known, said)
        is_back = what == "opened" and earlier is not None and opened.case == earlier.id
        row = self._letter(session, mail, at, "reopened" if is_back else what, opened.case)
        row.submission = opened.submission
        self._acknowledge(session, mail, row)
        log.info("letter.opened", case=opened.case, letter=row.id, what=row.what)
        return row

    def _open_anew(self, session: Session, row: LetterRow) -> None:
        known = letters.content_of(self._keys, row)
        mail = Mail(
            message_id=known["message_id"],
            sender=known["from"],
            name=known["name"],
            reply_to=known["reply_to"],
            subject=known["subject"],
            text=known["text"],
            references=(),
            unanswerable=True,
        )
        earlier = session.get(CaseRow, row.case_id)
        session.delete(row)
        session.flush()
        self._open(session, mail, row.at, _content(mail), earlier=earlier)

    def _letter(self, session: Session, mail: Mail, at: datetime, what: str, case: str) -> LetterRow:
        content = {
            "from": mail.sender,
            "name": mail.name,
            "reply_to": mail.reply_to,
            "subject": mail.subject,
            "text": mail.text[:LONGEST_KEPT],
            "references": list(mail.references[:50]),
        }
        row = letters.new(self._keys, mail.message_id, at, came=True, what=what, case=case, content=content)
        row.settled = not mail.files
        session.add(row)
        session.flush()
        known = session.get_one(CaseRow, case)
        known.keys = self._keys.noted(known.keys)
        return row

    def _set_aside(self, session: Session, mail: Mail, at: datetime, what: str) -> LetterRow:
        """It stays in the mailbox, unread: of it nothing is kept but that it came."""
        answered = self._answered(session, mail)
        row = letters.new(
            self._keys, mail.message_id, at, came=True, what=what, case=answered.id if answered else None, content=None
        )
        session.add(row)
        log.info("letter.set_aside", letter=row.id, what=what)
        return row

    def _bounced(self, session: Session, mail: Mail, at: datetime) -> LetterRow:
        bounce = mail.bounce
        assert bounce is not None
        row = self._set_aside(session, mail, at, "bounce")
        if not bounce.final:
            return row
        now = self._clock()
        letter = letters.find(session, self._keys, bounce.of)
        if letter and not letter.came and letter.state != "bounced":
            letter.state, letter.failed, row.case_id = "bounced", bounce.status, letter.case_id
            if letter.what != "receipt":
                case = session.get_one(CaseRow, letter.case_id)
                letters.tell_owner(session, self._people, case, "letter_failed", letter.id, now, form=letter.what)
        parcels = [found[1:].partition(".notice@")[0] for found in bounce.of if ".notice@" in found]
        of_parcels = select(DeliveryRow).where(col(DeliveryRow.parcel).in_(parcels), DeliveryRow.state == "delivered")
        for delivery in session.exec(of_parcels):
            delivery.state, delivery.failed = "bounced", bounce.status
            self._sorter.next_channel(session, delivery, now)
        return row

    def _acknowledge(self, session: Session, mail: Mail, row: LetterRow) -> None:
        """Tell who wrote the number of his case; it counts as no reply. Not to machines, and not again and again."""
        rules, to = self._house.reach.post, mail.reply_to
        if not (rules.receipts and self._ours and to) or mail.unanswerable or self._thanked_enough(session, to):
            return
        assert row.case_id is not None
        case = session.get_one(CaseRow, row.case_id)
        text = say("letter", "receipt", "zh", number=case.number)
        post(session, self._house, case, row, "receipt", text, self._clock())

    def _thanked_enough(self, session: Session, address: str) -> bool:
        try:
            found = self._keys.indexes(f"email:{normal('email', address)}".encode())
        except Invalid:
            return True
        theirs = select(CustomerRow.case_id).where(CustomerRow.kind == "email", col(CustomerRow.value).in_(found))
        recent = select(func.count()).where(
            LetterRow.what == "receipt", LetterRow.at > self._clock() - A_DAY, col(LetterRow.case_id).in_(theirs)
        )
        return session.exec(recent).one() >= RECEIPTS_A_DAY

    def _oldest(self) -> datetime:
        """The oldest receipt that a new case may have: a mail that lay longer counts from there."""
        intake = policy.intake(COMPLAINT, self._house.settings.policy)
        assert isinstance(intake, ComplaintIntake)
        return self._clock() - (intake.oldest_receipt or timedelta(days=3650)) + timedelta(minutes=5)


def post(
    session: Session,
    house: House,
    case: CaseRow,
    to: LetterRow,
    what: str,
    text: str,
    now: datetime,
    submission: str | None = None,
) -> LetterRow:
    """A letter in answer to one that came, waiting to be sent: threaded, and under an id of its own that every attempt bears."""
    asked: dict[str, Any] = letters.content_of(house.keys, to)
    subject = asked["subject"] or say("letter", "subject", "zh")
    answer = subject if subject.lower().startswith(("re:", "回复:", "回复：")) else f"Re: {subject}"
    if letters.reference_of(case.id) not in answer:
        answer = f"{answer} {letters.reference_of(case.id)}"
    domain = (house.settings.mail_from or "").rpartition("@")[2] or "localhost"
    carried = f"{what}-{submission or to.id}"
    message_id = f"<{house.keys.index(carried.encode()).rpartition(':')[2][:32]}.letter@{domain}>"
    content = {
        "to": asked["reply_to"] or asked["from"],
        "subject": answer,
        "text": text,
        "in_reply_to": asked["message_id"],
        "references": [*reversed(asked["references"]), asked["message_id"]],
    }
    row = letters.new(house.keys, message_id, now, came=False, what=what, case=case.id, content=content)
    row.submission = submission
    session.add(row)
    case.keys = house.keys.noted(case.keys)
    return row


def _unreadable(mail: Mail, reason: str) -> str:
    """What a form holds of a mail that cannot be read: a person looks into the mailbox."""
    return say("letter", "unreadable", "zh", reason=reason, subject=mail.subject or "–", sender=mail.sender or "–")


def _content(mail: Mail) -> str:
    """What a form holds of a mail."""
    whole = "\n\n".join(part for part in (mail.subject, mail.text) if part) or say("letter", "empty", "zh")
    return whole if len(whole) <= LONGEST else f"{whole[:LONGEST]}{say('letter', 'cut', 'zh')}"

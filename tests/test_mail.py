"""Letters: real mailboxes on loopback, in and out; every letter becomes what it is, once."""

import asyncio
import base64
import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from PIL import Image
from pydantic import SecretStr
from sqlmodel import col, select

from activities.keys import COLUMN, KeyRing
from activities.submissions import unsealed
from models.tables import AttachmentRow, CaseRow, DeliveryRow, LetterRow, NoticeRow, SubmissionRow
from settings import House
from starter.mail.letters import content_of, find, reference_of
from starter.mail.mailbox import Mailbox, mailbox_name
from starter.mail.outbox import Outbox
from starter.mail.reading import Unreadable, headers_of, read
from starter.post.sender import Sender
from starter.reseal import reseal
from starter.watching.postwatch import PostWatch
from tests.conftest import KEYS
from tests.imap import CARE, MailDrop, letter, mail_drop
from tests.letterbox import Clock, MailServer, mail_server, tell
from tests.office import DAY, HOUR, Office, organised
from tests.test_papers import book_of, register, rows_of, text_of

CUSTOMER = "zhang@customer.example"
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def server() -> Iterator[MailDrop]:
    with mail_drop() as drop:
        yield drop


@pytest.fixture
def drop(server: MailDrop) -> MailDrop:
    """The mailbox, empty."""
    client = server._client()
    client.store("1:*", "+FLAGS", r"\Deleted")
    client.expunge()
    client.logout()
    return server


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as running:
        yield running


class Counter:
    """The department with a complaint mailbox: what comes is read, what is answered goes out. Without an `office`, nobody decides."""

    def __init__(
        self, house: House, now: Callable[[], datetime], drop: MailDrop, mail: MailServer, office: Office | None
    ) -> None:
        settings = {"mailbox": SecretStr(drop.url), "smtp": SecretStr(mail.url), "mail_from": CARE}
        self.house = House(house.settings.model_copy(update=settings))
        self.now, self.drop, self.mail, self._office = now, drop, mail, office
        self.mailbox = Mailbox(self.house, now)
        self.outbox = Outbox(self.house, now)

    @property
    def office(self) -> Office:
        assert self._office
        return self._office

    async def reads(self) -> list[LetterRow]:
        """Read the mailbox, and let the desk decide what came of it. The letters there are, in the order they came."""
        await asyncio.to_thread(self.mailbox.round)
        for case in self.undecided() if self._office else ():
            await self.office.relay.deliver(case)
        return self.letters(LetterRow.came)

    def letters(self, *where: Any) -> list[LetterRow]:
        """A mailbox dates what comes to the second: of one second, as they were taken."""
        taken = (LetterRow.at, col(SubmissionRow.recorded_at), LetterRow.id)
        with self.house.database.reading() as session:
            of_submission = col(SubmissionRow.id) == col(LetterRow.submission)
            query = select(LetterRow).join(SubmissionRow, of_submission, isouter=True)
            return list(session.exec(query.where(*where).order_by(*taken)))

    def undecided(self) -> set[str]:
        with self.house.database.reading() as session:
            return set(session.exec(select(SubmissionRow.case_id).where(SubmissionRow.state == "pending")))

    def cases(self) -> list[CaseRow]:
        with self.house.database.reading() as session:
            return list(session.exec(select(CaseRow).order_by(col(CaseRow.opened_at))))

    def attachments(self) -> list[AttachmentRow]:
        with self.house.database.reading() as session:
            return list(session.exec(select(AttachmentRow)))

    def content(self, row: LetterRow) -> dict[str, Any]:
        return content_of(self.house.keys, row)

    def sent(self) -> list[EmailMessage]:
        """What the customer has, in order."""
        self.outbox.round()
        return self.mail.boxes[CUSTOMER]


@pytest.fixture
def counter(office: Office, drop: MailDrop, mail: MailServer) -> Counter:
    return Counter(office.house, office.now, drop, mail, office)


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime.now(UTC).replace(microsecond=0))


@pytest.fixture
def inlet(house: House, clock: Clock, drop: MailDrop, mail: MailServer) -> Iterator[Counter]:
    """Only the mailbox, the ledger and a clock: what a letter becomes needs no engine."""
    counter = Counter(house, clock, drop, mail, None)
    yield counter
    counter.house.database.close()


# In


async def test_a_letter_becomes_a_complaint_to_be_sorted_whose_day_runs_from_its_arrival(counter: Counter):
    arrived = counter.now() - 3 * HOUR
    counter.drop.receives(letter(), arrived)
    [row] = await counter.reads()
    assert row.what == "opened"
    assert row.case_id
    async with counter.office.api("lin") as door:
        facts = (await door.get(f"/api/cases/{row.case_id}")).json()["facts"]
    assert (facts["channel"], facts["category"], facts["kind"]) == ("email", "待分拣", "complaint")
    assert facts["customer"] == {"name": "张小红", "email": CUSTOMER}
    assert "跑绒" in facts["content"]
    assert facts["form_no"].startswith("MAIL-")
    reply = counter.office.tasks(row.case_id)["reply"]
    assert abs(reply.due_at - (arrived + DAY)) < timedelta(seconds=2)
    assert counter.drop.unseen() == 0


async def test_a_letter_read_again_and_by_others_is_the_same_case(inlet: Counter):
    inlet.drop.receives(letter(), inlet.now())
    await inlet.reads()
    inlet.drop.receives(letter(), inlet.now())  # delivered twice, as a mail server may
    await inlet.reads()
    other = Counter(inlet.house, inlet.now, inlet.drop, inlet.mail, None)
    with other.house.database.writing() as session:  # as after the mailbox was moved: every number is new
        row = session.get_one(type(other.mailbox._row()), mailbox_name(other.house))
        row.validity = "0"
    assert len(await other.reads()) == 1
    assert len(inlet.cases()) == 1


async def test_what_was_seen_before_we_came_is_not_ours(inlet: Counter):
    inlet.drop.receives(letter(message_id="<old@x>"), inlet.now(), seen=True)
    inlet.drop.receives(letter(), inlet.now())
    assert len(await inlet.reads()) == 1
    inlet.drop.receives(letter(message_id="<3@x>", subject="另一件"), inlet.now(), seen=True)
    assert len(await inlet.reads()) == 2, "from then on everything is, whoever has looked at it"


@pytest.mark.parametrize("way", ["in_reply_to", "references", "subject"])
async def test_an_answer_goes_to_the_case_it_answers_and_its_owner_hears(inlet: Counter, clock: Clock, way: str):
    inlet.drop.receives(letter(), inlet.now())
    [first] = await inlet.reads()
    assert first.case_id
    [receipt] = inlet.sent()
    headers = {
        "in_reply_to": {"In_Reply_To": receipt["Message-ID"]},
        "references": {"References": f"<unknown@x> {receipt['Message-ID']} <other@y>"},
        "subject": {"subject": f"回复：{receipt['Subject']}"},
    }[way]
    clock.pass_time(MINUTE)
    inlet.drop.receives(letter("我再补充一张小票号。", message_id="<2@x>", **headers), inlet.now())
    _, second = await inlet.reads()
    assert (second.what, second.case_id) == ("added", first.case_id)
    with inlet.house.database.reading() as session:
        sent = session.exec(select(SubmissionRow.form).where(SubmissionRow.case_id == first.case_id))
        assert sorted(sent) == ["amend", "open"]
        assert session.exec(select(NoticeRow.what).where(NoticeRow.case_id == first.case_id)).all() == ["letter"]


async def test_who_has_read_a_letter_says_what_it_is_about(counter: Counter):
    """By a form of its category, in the register, on the form, in the library and for the answers kept ready."""
    counter.drop.receives(letter("腋下起了一层球"), counter.now())
    [first] = await counter.reads()
    case, office = str(first.case_id), counter.office
    async with office.api("wang") as door:
        kept = {"category": "质量/起球", "title": "致歉", "text": "您好"}
        assert (await door.post("/api/answers", json=kept)).status_code == 201
        assert (await door.get(f"/api/cases/{case}/answers")).json()["items"] == []
        sent = await door.post(f"/api/cases/complaint/{case}/amend", json={"category": "质量/起球"})
        assert sent.status_code == 200, sent.text
        [ready] = (await door.get(f"/api/cases/{case}/answers")).json()["items"]
        assert ready["title"] == "致歉"
        paper = text_of((await door.get(f"/api/cases/{case}/record.pdf")).content)
        assert ("问题类别质量/起球" in paper, "更正王经理问题类别：质量/起球" in paper) == (True, True)
        [row] = rows_of(book_of(await register(office)))
        assert row["问题类别"] == "质量/起球"
        await office.walk(case)
        entry = {"case": case, "title": "掉色", "problem": "掉色", "solution": "换新", "tags": []}
        assert (await door.post("/api/library", json=entry)).status_code == 201
        assert len((await door.get("/api/library", params={"q": "起球"})).json()["items"]) == 1


async def test_what_a_customer_adds_by_mail_corrects_nothing(counter: Counter):
    """His thanks are no new matter: they stand in the course."""
    counter.drop.receives(letter("羽绒服跑绒"), counter.now())
    [first] = await counter.reads()
    counter.drop.receives(
        letter("谢谢，等您消息。", message_id="<2@x>", In_Reply_To="<1@customer.example>"), counter.now()
    )
    _, second = await counter.reads()
    assert second.what == "added"
    async with counter.office.api("wang") as door:
        paper = text_of((await door.get(f"/api/cases/{first.case_id}/record.pdf")).content)
        shown = (await door.get(f"/api/cases/{first.case_id}")).json()
    assert ("羽绒服跑绒" in shown["facts"]["content"], "谢谢" in shown["facts"]["content"]) == (True, False)
    assert shown["corrected"] == []
    matter, course = paper.split("经过", 1)
    assert ("羽绒服跑绒" in matter, "谢谢" in matter, "谢谢，等您消息。" in course) == (True, False, True)


async def test_an_answer_to_a_closed_case_opens_it_again_and_after_thirty_days_one_that_names_it(counter: Counter):
    """E26, by mail: what the customer writes has its picture with it, and the answers go out to him as before."""
    office = counter.office
    counter.drop.receives(letter(), counter.now())
    [first] = await counter.reads()
    case = str(first.case_id)
    await office.walk(case)
    await office.pass_time(DAY)
    again = letter("又跑绒了", message_id="<2@x>", In_Reply_To="<1@customer.example>")
    photo = io.BytesIO()
    Image.new("RGB", (64, 48), "navy").save(photo, "JPEG")
    again.add_attachment(photo.getvalue(), maintype="image", subtype="jpeg", filename="跑绒.jpg")
    counter.drop.receives(again, counter.now())
    _, second = await counter.reads()
    assert (second.what, second.case_id, office.case(case).cycle) == ("reopened", case, 2)
    assert [row.case_id for row in counter.attachments()] == [case]
    sent = len(counter.sent())
    await office.hand_in(case, "reply", content="已再次送检")
    assert "已再次送检" in counter.sent()[sent].get_content()
    await office.hand_in(case, "withdraw", reason="撤诉")
    await office.pass_time(HOUR)
    counter.drop.receives(letter("想来想去，还是要退", message_id="<3@x>", In_Reply_To="<2@x>"), counter.now())
    *_, meanwhile = await counter.reads()
    assert (meanwhile.what, meanwhile.case_id, office.case(case).cycle) == ("reopened", case, 3)
    await office.hand_in(case, "withdraw", reason="撤诉")
    await office.hand_in(case, "record", finding="已再次送检")
    await office.pass_time(31 * DAY)
    counter.drop.receives(letter("还是跑绒", message_id="<4@x>", In_Reply_To="<3@x>"), counter.now())
    *_, third = await counter.reads()
    assert (third.what, third.case_id != case) == ("opened", True)
    async with office.api("wang") as door:
        facts = (await door.get(f"/api/cases/{third.case_id}")).json()["facts"]
    assert facts["earlier"] == office.case(case).number


async def test_who_is_back_by_mail_is_not_written_what_he_was_told_on_the_phone(counter: Counter):
    """E26: the case came by phone, and was handled so; only what is said from now on answers his letter."""
    office = counter.office
    case = await office.open(channel="phone")
    await office.walk(case)
    await office.pass_time(DAY)
    counter.drop.receives(letter("又跑绒了", subject=f"又跑绒了 {reference_of(case)}"), counter.now())
    [back] = await counter.reads()
    assert (back.what, back.case_id) == ("reopened", case)
    told = len(counter.sent())
    assert [row.what for row in counter.letters() if not row.came] == ["receipt"]
    await office.hand_in(case, "reply", content="已再次送检")
    [answer] = counter.sent()[told:]
    assert "已再次送检" in answer.get_content()


@pytest.mark.parametrize(("wait", "what"), [(timedelta(0), "opened"), (5 * SECOND, "reopened")])
async def test_a_letter_that_a_closing_case_refuses_is_not_lost(counter: Counter, wait: timedelta, what: str):
    """The case is archived in the engine while the ledger still has it open: the amendment is refused afterwards. What came
    before the closing is a case of its own, which names it; who came after it has it opened again."""
    counter.drop.receives(letter(), counter.now())
    [first] = await counter.reads()
    case = str(first.case_id)
    await counter.office.hand_in(case, "reclassify", kind="query", reason="只是询问")
    came = counter.now()
    closing = counter.office.commit(case, "reply", content="可以退")
    if wait:
        await counter.office.pass_time(wait)
        came = counter.now()
    counter.drop.receives(letter("还有一件事", message_id="<2@x>", In_Reply_To="<1@customer.example>"), came)
    await asyncio.to_thread(counter.mailbox.round)
    await counter.office.relay.deliver(case)
    assert counter.office.submission(closing.submission).state == "decided"
    rows = await counter.reads()
    assert [row.what for row in rows] == ["opened", what]
    assert len({row.case_id for row in rows}) == (2 if what == "opened" else 1)
    assert counter.office.case(str(rows[-1].case_id)).state == "open"


async def test_pictures_come_along_and_what_cannot_be_kept_is_named(inlet: Counter):
    picture = io.BytesIO()
    Image.effect_noise((200, 200), 50).save(picture, "JPEG")
    mail = letter()
    mail.add_attachment(picture.getvalue(), maintype="image", subtype="jpeg", filename="破损.jpg")
    mail.add_attachment(b"MZ\x90\x00" * 300, maintype="application", subtype="octet-stream", filename="小票.exe")
    inlet.drop.receives(mail, inlet.now())
    [row] = await inlet.reads()
    [kept] = inlet.attachments()
    assert (kept.kind, kept.by, row.settled) == ("jpg", "mailbox", True)
    assert inlet.content(row)["left"] == [{"name": "小票.exe", "why": "unknown_kind"}]


async def test_a_reader_killed_before_the_attachments_brings_them_in_later(
    inlet: Counter, monkeypatch: pytest.MonkeyPatch
):
    picture = io.BytesIO()
    Image.effect_noise((200, 200), 50).save(picture, "PNG")
    mail = letter()
    mail.add_attachment(picture.getvalue(), maintype="image", subtype="png", filename="a.png")
    inlet.drop.receives(mail, inlet.now())

    class Killed(BaseException):
        pass

    def killed(*_: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(inlet.mailbox, "_attach", killed)
        with pytest.raises(Killed):
            inlet.mailbox.round()
    [row] = inlet.letters(LetterRow.came)
    assert not row.settled
    await inlet.reads()
    [row] = inlet.letters(LetterRow.came)
    assert row.settled
    assert len(inlet.attachments()) == 1
    assert len(inlet.cases()) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Auto_Submitted": "auto-replied"},
        {"Precedence": "bulk"},
        {"Return_Path": "<>"},
        {"X_Autoreply": "yes"},
        {"sender": f"客服 <{CARE}>"},
    ],
)
async def test_machines_are_answered_by_nothing_and_open_nothing(inlet: Counter, headers: dict[str, str]):
    inlet.drop.receives(letter("我正在休假", **headers), inlet.now())
    [row] = await inlet.reads()
    assert row.what in ("automatic", "own")
    assert inlet.cases() == []
    assert inlet.sent() == []
    assert inlet.drop.unseen() == 1, "it stays for a person to see"


async def test_two_machines_that_thank_each_other_come_to_an_end(inlet: Counter):
    """A machine that answers our receipts, and does not say that it is one."""
    inlet.drop.receives(letter(), inlet.now())
    for n in range(5):
        await inlet.reads()
        before = len(inlet.sent())
        inlet.drop.receives(letter("谢谢来信", subject=f"收到 {n}", message_id=f"<m{n}@x>"), inlet.now())
    await inlet.reads()
    assert len(inlet.sent()) == before == 3


UNREADABLE = {
    "no_headers": b"\r\n\r\nnothing at all",
    "not_even_text": bytes(range(128, 256)) * 20,
}


@pytest.mark.parametrize("kind", UNREADABLE)
async def test_what_cannot_be_read_becomes_a_task_and_not_a_lost_mail(inlet: Counter, kind: str):
    inlet.drop.receives(UNREADABLE[kind], inlet.now())
    inlet.drop.receives(letter(), inlet.now())
    rows = await inlet.reads()
    assert {row.what for row in rows} == {"unreadable", "opened"}
    [unreadable] = [row for row in rows if row.what == "unreadable"]
    assert unreadable.case_id
    with inlet.house.database.reading() as session:
        opened = session.get_one(SubmissionRow, unreadable.submission)
        assert "无法读取" in unsealed(opened, inlet.house.keys)["content"]


def test_a_mail_in_chinese_of_any_program_is_read():
    as_gb = b"Subject: =?gb2312?B?" + base64.b64encode("羽绒服跑绒㐂".encode("gb18030")) + b"?=\r\n"
    raw = b"From: =?GBK?B?1cXQobrs?= <Z@X.example>\r\n" + as_gb
    raw += b"Content-Type: text/html; charset=gb2312\r\n\r\n"
    raw += "<style>p{}</style><p>穿了<b>两次</b>就跑绒㐂</p><p>要求退货</p>".encode("gb18030")
    mail = read(raw)
    assert (mail.name, mail.sender, mail.subject) == ("张小红", "z@x.example", "羽绒服跑绒㐂")
    assert mail.text == "穿了两次就跑绒㐂\n要求退货"
    bare = read("From: z@x.example\r\nSubject: 投诉\r\n\r\n".encode("gb18030") + "太差".encode("gb18030"))
    assert (bare.subject, bare.text) == ("投诉", "太差")


def test_a_mail_without_an_id_has_one_made_of_what_it_says():
    raw = b"From: z@x.example\r\nSubject: a\r\n\r\nb"
    assert read(raw).message_id == read(raw).message_id != read(raw + b"c").message_id
    with pytest.raises(Unreadable):
        read(b"")
    assert headers_of(b"\xff\x00").message_id


# Out


async def test_a_reply_handed_in_goes_to_the_customer_threaded_and_once(counter: Counter):
    counter.drop.receives(letter(), counter.now())
    [row] = await counter.reads()
    case = str(row.case_id)
    await counter.office.hand_in(case, "reply", content="非常抱歉，我们已安排送检。")
    _receipt, reply = counter.sent()
    assert reply["In-Reply-To"] == "<1@customer.example>"
    assert "<1@customer.example>" in reply["References"]
    assert reply["Subject"] == f"Re: 投诉羽绒服 [KF-{case.partition('-')[2]}]"
    assert reply["Auto-Submitted"] is None
    assert "已安排送检" in reply.get_content()
    await counter.office.hand_in(case, "solution", **counter.office.SOLUTION)
    assert "2 天" in counter.sent()[2].get_content()
    Outbox(counter.house, counter.now).round()
    assert len(counter.sent()) == 3
    async with counter.office.api("lin") as door:
        shown = (await door.get(f"/api/cases/{case}/letters")).json()
    assert [(one["what"], one["state"]) for one in shown] == [
        ("opened", "in"),
        ("receipt", "delivered"),
        ("reply", "delivered"),
        ("solution", "delivered"),
    ]
    assert all(one["delivered_at"] for one in shown if not one["came"])


async def test_an_automatic_receipt_is_no_reply(counter: Counter):
    counter.drop.receives(letter(), counter.now())
    [row] = await counter.reads()
    [receipt] = counter.sent()
    assert receipt["Auto-Submitted"] == "auto-replied"
    await counter.office.pass_time(DAY + MINUTE)
    assert counter.office.tasks(str(row.case_id))["reply"].state == "open"
    assert [rung.role for rung in counter.office.fired(str(row.case_id), "reply")][-1] == "manager"


async def test_a_case_that_did_not_come_by_mail_sends_none_and_says_who_told_the_customer_when(counter: Counter):
    case = await counter.office.open(customer={"email": CUSTOMER})
    told = {"told_by": "chen", "told_at": counter.now().isoformat(), "channel": "phone"}
    await counter.office.hand_in(case, "reply", content="已致歉", **told)
    assert counter.sent() == []
    async with counter.office.api("wang") as door:
        timeline = (await door.get(f"/api/cases/{case}")).json()["timeline"]
    [reply] = [one["content"] for one in timeline if one["form"] == "reply" and one["kind"] == "done"]
    assert {name: reply[name] for name in ("told_by", "channel")} == {"told_by": "chen", "channel": "phone"}
    assert datetime.fromisoformat(reply["told_at"]) == datetime.fromisoformat(told["told_at"])


async def test_letters_that_do_not_leave_are_an_alarm_until_they_do(inlet: Counter, clock: Clock):
    inlet.drop.receives(letter(), clock())
    await inlet.reads()
    inlet.mail.close()
    assert inlet.outbox.round() == 0, "the receipt stays"
    watch = PostWatch(inlet.house.database, inlet.house.people, clock)
    assert watch.round() == []
    clock.pass_time(16 * MINUTE)
    assert [finding.kind for finding in watch.round()] == ["letters_wait"]
    inlet.mail.open()
    assert len(inlet.sent()) == 1
    clock.pass_time(MINUTE)
    assert watch.round() == []


async def test_a_letter_waits_for_the_mail_server_and_says_when_it_may_be_the_second(counter: Counter):
    counter.drop.receives(letter(), counter.now())
    [row] = await counter.reads()
    counter.sent()
    counter.mail.close()
    await counter.office.hand_in(str(row.case_id), "reply", content="已送检")
    assert counter.outbox.round() == 0
    counter.mail.open()
    await counter.office.pass_time(HOUR)
    envelope = counter.outbox.next()
    assert envelope
    counter.outbox._smtp.hand_over(envelope.mail, envelope.to)  # accepted; and killed before it is written
    await counter.office.pass_time(HOUR)
    *_, first, second = [mail for mail in (Outbox(counter.house, counter.now).round(), *counter.sent()) if mail != 1]
    assert first["Message-ID"] == second["Message-ID"]
    assert (first["X-Kefu-Possible-Duplicate"], second["X-Kefu-Possible-Duplicate"]) == (None, "yes")


@pytest.mark.parametrize("written", [True, False])
async def test_e44_a_letter_of_an_erased_case_never_goes_and_holds_up_no_other(counter: Counter, written: bool):
    """The mail server was away from before the case was closed until after it was erased."""
    counter.drop.receives(letter(), counter.now())
    [row] = await counter.reads()
    counter.sent()
    counter.mail.close()
    await counter.office.walk(str(row.case_id))
    if written:
        assert counter.outbox.round() == 0
        assert counter.letters(LetterRow.state == "waiting")
    async with counter.office.api("wang") as wang:
        gone = await wang.post(f"/api/cases/{row.case_id}/erase", json={"because": "customer_request"})
    assert gone.status_code == 200, gone.text
    counter.mail.open()
    await counter.office.pass_time(HOUR)
    counter.drop.receives(letter(message_id="<2@customer.example>"), counter.now())
    await counter.reads()
    _first, receipt = counter.sent()
    assert receipt["In-Reply-To"] == "<2@customer.example>"
    assert counter.letters(LetterRow.state == "waiting") == []


def bounce_of(message_id: str) -> bytes:
    return (
        "From: MAILER-DAEMON@kefu.example\r\nSubject: Undelivered\r\nMessage-ID: <dsn@mta>\r\nAuto-Submitted: auto-replied\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="B"\r\n\r\n'
        "--B\r\nContent-Type: text/plain\r\n\r\nIt failed.\r\n"
        "--B\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mta\r\n\r\n"
        "Final-Recipient: rfc822; zhang@customer.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n"
        f"--B\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {message_id}\r\nSubject: Re\r\n\r\n--B--\r\n"
    ).encode()


async def test_a_bounce_is_shown_at_the_letter_and_its_owner_hears(counter: Counter):
    counter.drop.receives(letter(), counter.now())
    [row] = await counter.reads()
    case = str(row.case_id)
    await counter.office.hand_in(case, "reply", content="已送检")
    reply = counter.sent()[-1]
    counter.drop.receives(bounce_of(reply["Message-ID"]), counter.now())
    for _ in range(2):
        await counter.reads()
    [bounced] = counter.letters(LetterRow.what == "reply")
    assert (bounced.state, bounced.failed) == ("bounced", "5.1.1")
    with counter.house.database.reading() as session:
        [told] = session.exec(select(NoticeRow).where(NoticeRow.what == "letter_failed"))
    assert (told.case_id, told.data["form"]) == (case, "reply")
    assert len(counter.cases()) == 1
    assert len(counter.sent()) == 2


async def test_a_notice_that_bounces_goes_over_the_next_channel(inlet: Counter, clock: Clock):
    house = inlet.house
    organised(house, inlet.now(), lin={"channels": ["mailto:gone@example.com", "mailto:lin@example.com"]})
    sender = Sender(house, inlet.now)
    tell(house, inlet.now())
    sender.round()
    [notice] = inlet.mail.boxes["gone@example.com"]
    inlet.drop.receives(bounce_of(notice["Message-ID"]), inlet.now())
    Mailbox(house, inlet.now).round()
    clock.pass_time(2 * MINUTE)
    sender.round()
    assert len(inlet.mail.boxes["lin@example.com"]) == 1
    with house.database.reading() as session:
        assert {row.state for row in session.exec(select(DeliveryRow).where(DeliveryRow.rank == 0))} >= {"bounced"}


# Watched, sealed, and kept from who should not see it


async def test_a_mailbox_not_read_for_an_hour_is_an_alarm(inlet: Counter, clock: Clock):
    house = inlet.house
    await inlet.reads()
    watch = PostWatch(house.database, house.people, inlet.now, mailbox_name(house))
    assert watch.round() == []
    gone = Mailbox(
        House(house.settings.model_copy(update={"mailbox": SecretStr("imap://a:b@127.0.0.1:9/")})), inlet.now
    )
    assert gone.round() == 0
    clock.pass_time(HOUR + MINUTE)
    assert [finding.kind for finding in watch.round()] == ["mailbox_unread"]
    await inlet.reads()
    assert watch.round() == []


@pytest.mark.sqlite
async def test_the_ledger_holds_no_word_of_a_letter_in_the_clear(counter: Counter, caplog: pytest.LogCaptureFixture):
    counter.drop.receives(letter(), counter.now())
    [row] = await counter.reads()
    await counter.office.hand_in(str(row.case_id), "reply", content="已安排送检")
    counter.sent()
    secrets = ("张小红", CUSTOMER, "跑绒", "送检", "投诉羽绒服", "1@customer")
    for file in counter.house.settings.data.glob("ledger.db*"):
        assert [secret for secret in secrets if secret.encode() in file.read_bytes()] == []
    ours = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("mail."))
    assert [secret for secret in secrets if secret in ours] == [], "the mail server of the test has a log of its own"


async def test_letters_turn_over_to_a_new_key_and_are_found_still(inlet: Counter):
    inlet.drop.receives(letter(), inlet.now())
    await inlet.reads()
    fresh = "new:" + base64.b64encode(b"n" * 32).decode()
    house = House(inlet.house.settings.model_copy(update={"keys": SecretStr(f"{fresh},{KEYS}")}))
    reseal(house)
    with house.database.reading() as session:
        row = find(session, KeyRing(fresh), ["<1@customer.example>"])
        assert row
        assert KeyRing(fresh).open(row.sealed, COLUMN, f"letter/{row.id}")


async def test_who_may_not_read_a_case_reads_no_letter_of_it(counter: Counter):
    counter.drop.receives(letter(), counter.now())
    [row] = await counter.reads()
    for actor, status in (("lin", 200), ("oa-sh01", 404), ("shang", 404), ("admin", 403)):
        async with counter.office.api(actor) as door:
            assert (await door.get(f"/api/cases/{row.case_id}/letters")).status_code == status
    async with counter.office.api("admin") as door:
        listed = (await door.get("/api/letters", params={"limit": 1})).json()
    assert listed["items"][0]["what"] in ("opened", "receipt")
    assert CUSTOMER not in str(listed)


# Answers kept ready


async def test_an_answer_is_filled_in_for_a_case_of_its_category(office: Office):
    case = await office.open(category="质量/起球", customer={"name": "张小红"})
    kept = {
        "category": "质量/起球",
        "title": "致歉",
        "text": "{customer}您好，{store}的工单 {number}，款号 {style_no}。",
    }
    async with office.api("wang") as manager, office.api("lin") as door:
        assert (await manager.post("/api/answers", json=kept)).status_code == 201
        await manager.post("/api/answers", json={**kept, "category": "质量/褪色"})
        [shown] = (await door.get(f"/api/cases/{case}/answers")).json()["items"]
        assert shown["text"] == f"张小红您好，上海南京东路店的工单 {office.case(case).number}，款号 {{style_no}}。"
        assert shown["missing"] == ["style_no"]
        assert (await door.post("/api/answers", json=kept)).status_code == 403
        await office.hand_in(case, "amend", customer={"name": "李四"}, goods={"style_no": "Y-1700"})
        [shown] = (await door.get(f"/api/cases/{case}/answers")).json()["items"]
        assert shown["text"] == f"李四您好，上海南京东路店的工单 {office.case(case).number}，款号 Y-1700。"


async def test_an_answer_is_changed_once_at_a_time_and_holds_nobodys_number(office: Office):
    kept = {"title": "致歉", "text": "您好"}
    async with office.api("wang") as manager:
        one = (await manager.post("/api/answers", json=kept)).json()["id"]
        changed = await manager.put(f"/api/answers/{one}", json={**kept, "text": "您好！", "version": 1})
        assert (changed.json()["text"], changed.json()["version"]) == ("您好！", 2)
        assert (await manager.put(f"/api/answers/{one}", json={**kept, "version": 1})).status_code == 409
        for bad, field in (("请打 13800000001", "text"), ("{phone}", "text"), ("", "text")):
            refused = await manager.post("/api/answers", json={**kept, "text": bad})
            assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field)
        assert (await manager.post(f"/api/answers/{one}/remove")).status_code == 204
        assert (await manager.get(f"/api/answers/{one}")).status_code == 404
        assert (await manager.get("/api/answers")).json()["items"] == []

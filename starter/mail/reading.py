"""What a mail says, whoever wrote it with whatever program: who, what, in answer to what; and whether a machine wrote it."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.header import decode_header
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from email.utils import getaddresses
from hashlib import sha256
from html.parser import HTMLParser

WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "gb_2312-80": "gb18030", "x-gbk": "gb18030", "big5": "big5hkscs"}
"""What a text may be in that says it is in the narrower one."""
MESSAGE_ID = re.compile(r"<[^<>\s]{3,250}>")
MACHINES = re.compile(r"^(mailer-daemon|postmaster|mail-daemon|no-?reply|do-?not-?reply)@", re.IGNORECASE)
DAEMONS = re.compile(r"^(mailer-daemon|postmaster|mail-daemon)@", re.IGNORECASE)
BULK = frozenset({"bulk", "junk", "list", "auto_reply", "auto-reply"})
SMALL_PICTURE = 8 * 1024
"""An inline picture below this is a signature's logo."""
BLOCKS = frozenset({"p", "div", "br", "tr", "li", "h1", "h2", "h3", "h4", "table", "blockquote"})
UNSEEN = frozenset({"script", "style", "head", "title"})


class Unreadable(Exception):
    """A mail that cannot be read: a code for the reason."""


@dataclass(frozen=True)
class File:
    """Something attached."""

    name: str
    body: bytes


@dataclass(frozen=True)
class Bounce:
    """What says that letters of ours did not arrive."""

    of: tuple[str, ...]
    """The Message-IDs it names."""
    status: str
    final: bool
    """False where it is only late."""


@dataclass(frozen=True)
class Mail:
    """A mail as it was read."""

    message_id: str
    sender: str
    """The address, lower case; empty where there is none."""
    name: str
    reply_to: str
    subject: str
    text: str
    references: tuple[str, ...]
    """What it answers, the nearest first."""
    automatic: bool = False
    """A machine wrote it: an absence note, a list. Nobody's complaint."""
    unanswerable: bool = False
    """Who sent it reads no answers: it gets no receipt."""
    bounce: Bounce | None = None
    files: tuple[File, ...] = field(default=(), repr=False)

    @property
    def number(self) -> str:
        """The business number of a case that it opens: the same for the same mail, whenever it is read."""
        return f"MAIL-{sha256(self.message_id.encode()).hexdigest()[:12].upper()}"


def read(raw: bytes) -> Mail:
    """Read a mail. Unreadable where nothing can be made of it."""
    try:
        message = BytesParser(policy=compat32).parsebytes(raw)
        if not message.keys():
            raise Unreadable("no_headers")
        return _read(message, raw)
    except (ValueError, LookupError, TypeError, IndexError, AttributeError, RecursionError, AssertionError) as error:
        raise Unreadable(type(error).__name__) from None


def headers_of(raw: bytes) -> Mail:
    """As much as can be said of a mail that cannot be read: from its headers, else from its bytes."""
    head = raw.partition(b"\r\n\r\n")[0]
    try:
        message = BytesParser(policy=compat32).parsebytes(head, headersonly=True)
        sender, name = _address(message, "from")
        return Mail(_id_of(message, raw), sender, name, sender, _header(message, "subject"), "", ())
    except Exception:  # noqa: BLE001 — whatever is wrong with it, it must not be lost
        return Mail(_made_up_id(raw), "", "", "", "", "", ())


def _read(message: Message, raw: bytes) -> Mail:
    sender, name = _address(message, "from")
    reply_to, _ = _address(message, "reply-to")
    nearest = MESSAGE_ID.findall(_raw(message, "in-reply-to"))
    chain = MESSAGE_ID.findall(_raw(message, "references"))
    bounce = _bounce(message, sender)
    return Mail(
        message_id=_id_of(message, raw),
        sender=sender,
        name=name,
        reply_to=reply_to or sender,
        subject=_header(message, "subject")[:200],
        text=_text(message),
        references=tuple(dict.fromkeys([*nearest, *reversed(chain)])),
        automatic=_is_automatic(message),
        unanswerable=bool(MACHINES.match(sender) or _raw(message, "x-auto-response-suppress")),
        bounce=bounce,
        files=tuple(_files(message)) if bounce is None else (),
    )


def _id_of(message: Message, raw: bytes) -> str:
    found = MESSAGE_ID.search(_raw(message, "message-id"))
    return found[0] if found else _made_up_id(raw)


def _made_up_id(raw: bytes) -> str:
    return f"<{sha256(raw).hexdigest()}@no-message-id>"


def _is_automatic(message: Message) -> bool:
    """Whether a machine wrote it: nobody answers a machine."""
    submitted = _raw(message, "auto-submitted").split(";")[0].strip().lower()
    return (
        submitted not in ("", "no")
        or _raw(message, "precedence").strip().lower() in BULK
        or _raw(message, "return-path").strip() == "<>"
        or any(_raw(message, name) for name in ("x-autoreply", "x-autorespond", "list-id"))
    )


# Bounces


def _bounce(message: Message, sender: str) -> Bounce | None:
    report = message.get_content_type() == "multipart/report"
    kind = str(message.get_param("report-type") or "").lower()
    if not (report and kind == "delivery-status") and not DAEMONS.match(sender):
        return None
    status, actions, named = "", [], []
    for part in message.walk():
        if part.get_content_type() == "message/delivery-status":
            for block in part.get_payload() if isinstance(part.get_payload(), list) else []:
                assert isinstance(block, Message)
                status = status or str(block.get("status", ""))
                actions.append(str(block.get("action", "")).strip().lower())
        elif part.get_content_type() in ("message/rfc822", "text/rfc822-headers"):
            named += MESSAGE_ID.findall(part.as_string())
        elif part.get_content_type() == "text/plain":
            named += MESSAGE_ID.findall(_decoded(part))
    told = [action for action in actions if action]
    return Bounce(tuple(dict.fromkeys(named)), status.strip()[:16] or "unknown", final="failed" in told or not told)


# Texts


def _text(message: Message) -> str:
    """What is to be read: the plain text, or the other one made plain."""
    plain = [part for part in _leaves(message) if part.get_content_type() == "text/plain" and not _is_file(part)]
    if plain and (text := "\n".join(_decoded(part) for part in plain).strip()):
        return cleaned(text)
    html = [part for part in _leaves(message) if part.get_content_type() == "text/html" and not _is_file(part)]
    return cleaned("\n".join(_plain(_decoded(part)) for part in html))


def _decoded(part: Message) -> str:
    body = part.get_payload(decode=True)
    if not isinstance(body, bytes):
        return ""
    said = str(part.get_content_charset() or "utf-8").lower()
    return _in(body, said)


def _in(body: bytes, said: str) -> str:
    """Bytes as text: in what they say they are in, in what that is often said for, or in whatever fits."""
    for charset in (WIDER.get(said, said), "utf-8", "gb18030"):
        try:
            return body.decode(charset)
        except (UnicodeDecodeError, LookupError):
            continue
    return body.decode("utf-8", errors="replace")


def cleaned(text: str) -> str:
    """Without what no person types and not every database keeps."""
    kept = (
        sign for sign in text.replace("\r\n", "\n") if sign in "\n\t" or unicodedata.category(sign) not in ("Cc", "Cs")
    )
    return re.sub(r"\n{3,}", "\n\n", "".join(kept)).strip()


def _header(message: Message, name: str) -> str:
    return " ".join(_said(_raw(message, name)).split())


def _raw(message: Message, name: str) -> str:
    """A header as it came: where somebody wrote it in no coding, in what fits."""
    for known, value in message.raw_items():
        if known.lower() == name:
            return _in(value.encode("utf-8", "surrogateescape"), "utf-8")
    return ""


def _address(message: Message, name: str) -> tuple[str, str]:
    """The address of a header and whose it is."""
    for label, address in getaddresses([_raw(message, name)]):
        if re.fullmatch(r"[^@\s]+@[^@\s]+", address):
            return address.lower()[:250], _said(label)[:100]
    return "", ""


def _said(encoded: str) -> str:
    """A header's words in plain."""
    parts = [
        _in(body, (charset or "utf-8").lower()) if isinstance(body, bytes) else body
        for body, charset in decode_header(encoded)
    ]
    return cleaned("".join(parts))


class _Plain(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in UNSEEN
        if tag in BLOCKS:
            self.said.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in UNSEEN and self._hidden > 0

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.said.append(" ".join(data.split()) if data.strip() else " ")


def _plain(html: str) -> str:
    parser = _Plain()
    parser.feed(html)
    return "\n".join(line.strip() for line in "".join(parser.said).splitlines())


# Files


def _leaves(message: Message) -> Iterator[Message]:
    return (part for part in message.walk() if not part.is_multipart())


def _is_file(part: Message) -> bool:
    return part.get_content_disposition() == "attachment" or bool(part.get_filename())


def _files(message: Message) -> Iterator[File]:
    for part in _leaves(message):
        picture = part.get_content_maintype() in ("image", "video")
        if not (_is_file(part) or picture):
            continue
        body = part.get_payload(decode=True)
        if not isinstance(body, bytes) or not body:
            continue
        if part.get_content_disposition() != "attachment" and picture and len(body) < SMALL_PICTURE:
            continue
        yield File(_said(part.get_filename() or "") or "attachment", body)

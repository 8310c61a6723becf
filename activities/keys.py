"""Keys: where they come from, what is sealed with them, and which of them the cases still need.

One secret makes a key for payloads, one for columns, one for digests, one for indexes."""

import base64
import hmac
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlmodel import Session, col, func, select

from activities.database import Database
from models.tables import CaseRow, ExpiryListRow, MemberRow, OrganisationRow
from models.words import LANGUAGES, say

NONCE = 12
COLUMN = "column"
"""The purpose of every seal in the ledger."""
SHOWN = 3


class UnknownKey(ValueError):
    """Something was sealed with a key that is not in the ring."""

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f"key {key_id!r} is not in the key ring; add it to KEFU_KEYS or to the keys file and start again"
        )


@dataclass
class Need:
    """What a key is still needed for. An open case's history in the engine holds what it has sealed, a closed case's columns do, and a member's."""

    open: int = 0
    closed: int = 0
    members: int = 0
    such_as: list[str] = field(default_factory=list)
    """A few of the open ones: number and id."""

    @property
    def values(self) -> dict[str, object]:
        """For a sentence about it."""
        return {
            "open": self.open,
            "closed": self.closed,
            "members": self.members,
            "cases": ", ".join(self.such_as) or "–",
        }


class MissingKey(ValueError):
    """A key that cases need is not in the ring. Nothing may start: their deadlines would not fire."""

    code = "key_missing"

    def __init__(self, key_id: str, need: Need) -> None:
        self.values = {"key": key_id, **need.values}
        super().__init__("\n".join(say("up", self.code, language, **self.values) for language in LANGUAGES))


class KeyRing:
    """Several secrets that can read, the first of which writes.

    `text` is `id:base64,id:base64`, each secret 32 bytes. Purposes never share a derived key. ValueError says what is
    wrong with it and where it comes from, and repeats nothing of it.
    """

    def __init__(self, text: str, source: str = "KEFU_KEYS") -> None:
        pairs = [pair.strip().partition(":") for pair in text.replace("\n", ",").split(",") if pair.strip()]
        try:
            self._secrets = {key_id: base64.b64decode(secret, validate=True) for key_id, _, secret in pairs}
        except ValueError:
            raise ValueError(f"{source}: must be id:base64[,id:base64…]") from None
        if not self._secrets or any(len(secret) != 32 for secret in self._secrets.values()):
            raise ValueError(f"{source}: must hold at least one key, each of 32 bytes in base64")
        if "" in self._secrets or len(self._secrets) < len(pairs):
            raise ValueError(f"{source}: every key needs an id, and no two the same")
        self.writing = next(iter(self._secrets))
        self._derived: dict[tuple[str, str], bytes] = {}

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._secrets

    @property
    def reading(self) -> list[str]:
        """The ids of those that only read."""
        return [key_id for key_id in self._secrets if key_id != self.writing]

    @classmethod
    def from_file(cls, path: Path) -> "KeyRing":
        """Read the ring, or make one that only its owner can read. Losing the file is losing the data."""
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = f"k{secrets.token_hex(3)}:{base64.b64encode(secrets.token_bytes(32)).decode()}\n"
            part = path.with_name(f"{path.name}.{os.getpid()}")
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(fresh)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(part, path)  # the first one wins when several processes start at once
            except FileExistsError:
                pass
            finally:
                part.unlink()
        return cls(path.read_text(encoding="utf-8-sig", errors="replace"), source=str(path))

    def seal(self, plain: bytes, purpose: str, bound_to: str) -> bytes:
        """Encrypt. `bound_to` names the place it is for: sealed bytes moved elsewhere do not open."""
        nonce = secrets.token_bytes(NONCE)
        sealed = AESGCM(self._key(self.writing, purpose)).encrypt(nonce, plain, bound_to.encode())
        return self.writing.encode() + b":" + nonce + sealed

    def open(self, sealed: bytes, purpose: str, bound_to: str) -> bytes:
        """Decrypt. UnknownKey when the key is missing, InvalidTag when the bytes are not what was sealed here."""
        key_id, _, rest = sealed.partition(b":")
        key = self._key(key_id.decode(errors="replace"), purpose)
        return AESGCM(key).decrypt(rest[:NONCE], rest[NONCE:], bound_to.encode())

    def has_written(self, sealed: bytes) -> bool:
        """Whether something was sealed with the writing key."""
        return sealed.partition(b":")[0] == self.writing.encode()

    def digest(self, plain: bytes) -> str:
        return self._digest(self.writing, plain)

    def matches(self, digest: str, plain: bytes) -> bool:
        """Whether a digest is of these bytes, whichever key of the ring made it."""
        return hmac.compare_digest(self._digest(digest.partition(":")[0], plain), digest)

    def index(self, plain: bytes) -> str:
        """What these bytes are found by without being kept: a keyed hash of its own purpose, of the writing key."""
        return self._indexed(self.writing, plain)

    def indexes(self, plain: bytes) -> list[str]:
        """What these bytes may have been indexed as: by each key of the ring."""
        return [self._indexed(key_id, plain) for key_id in self._secrets]

    def noted(self, keys: str) -> str:
        """What a case's row says of its keys, after this process has sealed something of it."""
        return _joined([*_ids(keys), self.writing])

    def _digest(self, key_id: str, plain: bytes) -> str:
        return f"{key_id}:{hmac.new(self._key(key_id, 'digest'), plain, sha256).hexdigest()}"

    def _indexed(self, key_id: str, plain: bytes) -> str:
        return f"{key_id}:{hmac.new(self._key(key_id, 'index'), plain, sha256).hexdigest()}"

    def _key(self, key_id: str, purpose: str) -> bytes:
        if key_id not in self._secrets:
            raise UnknownKey(key_id)
        found = self._derived.get((key_id, purpose))
        if found is None:
            found = HKDF(SHA256(), length=32, salt=None, info=purpose.encode()).derive(self._secrets[key_id])
            self._derived[key_id, purpose] = found
        return found


def _ids(keys: str) -> list[str]:
    return [key_id for key_id in keys.split(",") if key_id]


def _joined(ids: Iterable[str]) -> str:
    return ",".join(sorted(set(ids)))


def needed(session: Session) -> dict[str, Need]:
    """Every key that something in the ledger, or in the history of an open case, is sealed with; and for what."""
    found: dict[str, Need] = {}
    kinds = select(CaseRow.keys, CaseRow.state, func.count()).group_by(col(CaseRow.keys), col(CaseRow.state))
    for keys, state, cases in session.exec(kinds):
        for key_id in _ids(keys):
            need = found.setdefault(key_id, Need())
            if state != "open":
                need.closed += cases
                continue
            need.open += cases
            if len(need.such_as) < SHOWN:
                alike = (
                    select(CaseRow).where(CaseRow.keys == keys, CaseRow.state == state).order_by(col(CaseRow.opened_at))
                )
                need.such_as += [
                    f"{case.number} {case.id}" for case in session.exec(alike.limit(SHOWN - len(need.such_as)))
                ]
    for key_id, lists in session.exec(select(ExpiryListRow.keys, func.count()).group_by(col(ExpiryListRow.keys))):
        if key_id:  # one that is still being made has none
            found.setdefault(key_id, Need()).closed += lists
    of_members = select(MemberRow.keys, func.count()).group_by(col(MemberRow.keys))
    for key_id, members in session.exec(of_members):
        found.setdefault(key_id, Need()).members += members
    of_people = select(OrganisationRow.key, func.count()).group_by(col(OrganisationRow.key))
    for key_id, versions in session.exec(of_people):
        found.setdefault(key_id, Need()).closed += versions
    return found


def check(database: Database, keys: KeyRing) -> None:
    """MissingKey when a case needs a key that is not in the ring."""
    with database.reading() as session:
        for key_id, need in sorted(needed(session).items()):
            if key_id not in keys:
                raise MissingKey(key_id, need)

"""Keys: where they come from, and what is sealed with them. One secret makes a key for payloads, one for columns, one for digests."""

import base64
import hmac
import os
import secrets
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NONCE = 12
COLUMN = "column"
"""The purpose of every seal in the ledger."""


class UnknownKey(ValueError):
    """Something was sealed with a key that is not in the ring."""

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f"key {key_id!r} is not in the key ring; add it to KEFU_KEYS or to the keys file and start again"
        )


class KeyRing:
    """Several secrets that can read, the first of which writes.

    `text` is `id:base64,id:base64`, each secret 32 bytes. Purposes never share a derived key.
    """

    def __init__(self, text: str) -> None:
        pairs = [pair.strip().partition(":") for pair in text.replace("\n", ",").split(",") if pair.strip()]
        try:
            self._secrets = {key_id: base64.b64decode(secret, validate=True) for key_id, _, secret in pairs}
        except ValueError as error:
            raise ValueError("KEFU_KEYS must be id:base64[,id:base64…]") from error
        if not self._secrets or any(len(secret) != 32 for secret in self._secrets.values()):
            raise ValueError("KEFU_KEYS must hold at least one key, each of 32 bytes in base64")
        self.writing = next(iter(self._secrets))
        self._derived: dict[tuple[str, str], bytes] = {}

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
        return cls(path.read_text())

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

    def digest(self, plain: bytes) -> str:
        return self._digest(self.writing, plain)

    def matches(self, digest: str, plain: bytes) -> bool:
        """Whether a digest is of these bytes, whichever key of the ring made it."""
        return hmac.compare_digest(self._digest(digest.partition(":")[0], plain), digest)

    def require(self, digest: str) -> None:
        """UnknownKey when the key that made a digest, and sealed what it is of, is not in the ring."""
        self._key(digest.partition(":")[0], "digest")

    def _digest(self, key_id: str, plain: bytes) -> str:
        return f"{key_id}:{hmac.new(self._key(key_id, 'digest'), plain, sha256).hexdigest()}"

    def _key(self, key_id: str, purpose: str) -> bytes:
        if key_id not in self._secrets:
            raise UnknownKey(key_id)
        found = self._derived.get((key_id, purpose))
        if found is None:
            found = HKDF(SHA256(), length=32, salt=None, info=purpose.encode()).derive(self._secrets[key_id])
            self._derived[key_id, purpose] = found
        return found

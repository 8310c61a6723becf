"""Settings from the environment (KEFU_…), and how everything is put together from them."""

import base64
import logging
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

import structlog
from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError
from temporalio.client import Client
from temporalio.envconfig import ClientConfig

from activities import schema
from activities.database import Database
from activities.keys import KeyRing
from activities.payloads import data_converter
from activities.people import Organisation
from activities.reach import read_reach
from models import policy
from models.reach import NOT_OUTSIDE, Reachable, ReachBook

TASK_QUEUE = "kefu"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
DRIVERS = ("postgresql+psycopg", "sqlite", "sqlite+pysqlite")


class Settings(BaseSettings):
    """Everything that differs between installations. Temporal's address, namespace and TLS are Temporal's own settings."""

    model_config = SettingsConfigDict(env_prefix="KEFU_", hide_input_in_errors=True)

    data: Path = Path("var")
    """Where everything lives that is not in the environment: the ledger, the keys, the directory."""
    database_url: SecretStr | None = None
    """SQLAlchemy URL of the ledger, which may hold a password; a SQLite file in the data directory when unset."""
    keys: SecretStr | None = None
    """id:base64[,id:base64…], the first one writes; a file in the data directory, made once, when unset."""
    policy: Path = policy.SHIPPED
    zone: str = "Asia/Shanghai"
    """The calendar's zone: for dates without an offset, and for showing instants."""
    host: str = "127.0.0.1"
    port: int = Field(default=8040, ge=1, le=65533)
    max_cached_workflows: int = 1000
    member_secret: SecretStr | None = None
    """whsec_ and base64: what the member system signs its webhook's messages with (Standard Webhooks)."""
    member_folder: Path | None = None
    """Where files of members and purchases are laid down to be taken."""
    member_source: Path | None = None
    """A TOML file that says how to ask the member system: by SQL or by HTTP."""
    link: str | None = None
    """What the pages' addresses begin with, for links in messages; none without it."""
    smtp: SecretStr | None = None
    """The mail server that takes what we send; None where nothing is sent by mail."""
    mail_from: str | None = Field(default=None, validate_default=True)
    """The address it comes from; the user of the mail server when unset."""
    mailbox: SecretStr | None = None
    """The complaint mailbox; None where there is none."""

    @field_validator("database_url")
    @classmethod
    def _is_a_ledger(cls, url: SecretStr | None) -> SecretStr | None:
        if not url:
            return None
        try:
            known = make_url(url.get_secret_value()).drivername in DRIVERS
        except (ArgumentError, ValueError):
            known = False
        if not known:
            raise ValueError("must be like postgresql+psycopg://user:password@host/database or sqlite:////path/to/file")
        return url

    @field_validator("member_secret")
    @classmethod
    def _is_a_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is None or not secret.get_secret_value():
            return None
        try:
            known = len(base64.b64decode(secret.get_secret_value().removeprefix("whsec_"), validate=True)) >= 24
        except ValueError:
            known = False
        if not known:
            raise ValueError("must be whsec_ and at least 24 bytes in base64")
        return secret

    @field_validator("link")
    @classmethod
    def _is_an_address_of_pages(cls, link: str | None) -> str | None:
        if link and urlsplit(link).scheme not in ("http", "https"):
            raise ValueError("must begin with http:// or https://")
        return link.rstrip("/") if link else None

    @field_validator("smtp", "mailbox")
    @classmethod
    def _is_a_mail_server(cls, url: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if not url or not url.get_secret_value():
            return None
        kind = "smtp" if info.field_name == "smtp" else "imap"
        try:
            parts = urlsplit(url.get_secret_value())
            fits = parts.scheme in (kind, f"{kind}s") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"must be like {kind}s://user:password@host")
        return url

    @field_validator("mail_from")
    @classmethod
    def _is_an_address(cls, address: str | None, info: ValidationInfo) -> str | None:
        server = info.data.get("smtp")
        if not address and server:
            address = unquote(urlsplit(server.get_secret_value()).username or "")
        if (address or server) and "@" not in (address or ""):
            raise ValueError("must be the e-mail address that our mail comes from")
        return address or None

    @field_validator("zone")
    @classmethod
    def _is_a_zone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{zone} is not a time zone; write it like Asia/Shanghai") from error
        return zone

    @field_validator("host")
    @classmethod
    def _is_loopback(cls, host: str) -> str:
        if host not in LOOPBACK:
            raise ValueError(
                f"{host} is not a loopback address: there is no sign-in yet, whoever reaches the port may do anything. "
                "Use 127.0.0.1, and a tunnel for people elsewhere"
            )
        return host


def configure_logs() -> None:
    """Readable lines on a terminal, JSON otherwise; ours and the libraries' alike. Nothing personal is ever logged."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        _without_colours,
        structlog.processors.TimeStamper(fmt="iso", utc=False)
        if sys.stderr.isatty()
        else structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.format_exc_info,
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer()
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    for chatty in ("uvicorn.access", "alembic", "temporalio.activity"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_is_not_a_traceback)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _is_not_a_traceback(record: logging.LogRecord) -> bool:
    """The API has logged the failure already, without the message: that may quote what somebody sent."""
    return not record.getMessage().startswith("Exception in ASGI application")


def _without_colours(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    event.pop("color_message", None)  # uvicorn says everything twice
    return event


@dataclass(frozen=True)
class House:
    """The one place where the parts are put together."""

    settings: Settings

    @cached_property
    def calendar(self) -> ZoneInfo:
        return ZoneInfo(self.settings.zone)

    @cached_property
    def database(self) -> Database:
        url = self.settings.database_url
        return Database(url.get_secret_value() if url else f"sqlite:///{self.settings.data / 'ledger.db'}")

    @cached_property
    def keys(self) -> KeyRing:
        """As set, or of the file; a new one only beside a ledger that is not there yet. ValueError says what is missing."""
        if self.settings.keys:
            return KeyRing(self.settings.keys.get_secret_value())
        file = self.settings.data / "keys"
        if not file.exists() and self.settings.database_url:
            raise ValueError(
                f"{file} is missing, and KEFU_KEYS is not set: all machines of one ledger need the same keys. "
                "Copy the file from the machine where the ledger was made, or put it back from its backup"
            )
        if not file.exists() and (self.settings.data / "ledger.db").exists():
            raise ValueError(
                f"{file} is missing, and the ledger beside it was sealed with it: put it back from its backup"
            )
        return KeyRing.from_file(file)

    def make_keys(self) -> Path | None:
        """For a ledger that has no tables yet: a key of its own, where none is set. Returns the file that was made."""
        file = self.settings.data / "keys"
        if self.settings.keys or file.exists() or schema.current(self.database) is not None:
            return None
        KeyRing.from_file(file)
        return file

    @cached_property
    def people(self) -> Organisation:
        return Organisation(self.database, lambda: self.keys, self.settings.data / "directory.toml")

    @cached_property
    def reach(self) -> ReachBook:
        return read_reach(self.settings.data / "reach.toml")

    def reached(self, person: str) -> Reachable:
        """How somebody is reached now, as the organisation has it; or a group, where he is called `group:…`."""
        return self.reach.group(person) or self.people.person(person) or NOT_OUTSIDE

    @property
    def engine_address(self) -> Path:
        """Where `kefu up` notes the address of the engine it brought, for commands beside it."""
        return self.settings.data / "engine"

    async def temporal(self, *, lazy: bool = True) -> Client:
        """A client of the configured engine, or of the one `kefu up` runs on this data directory.

        A lazy one connects when it is first used, so that the doors work without the engine; a worker needs one that has.
        """
        noted = self.engine_address.read_text().strip() if self.engine_address.exists() else "localhost:7233"
        config: dict[str, Any] = {"target_host": noted, **ClientConfig.load_client_connect_config()}
        return await Client.connect(**config, data_converter=data_converter(self.keys), lazy=lazy)

"""How people are reached outside: their channels in order, when not, in which language; and the accounts messages go out from."""

from datetime import datetime, time, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from models.words import LANGUAGES, Language, say

OURS = {"mailto": "email", "wecom": "wecom", "dingtalk": "dingtalk", "feishu": "feishu", "sms": "sms"}
"""Senders of our own, to one person, by how an address begins: `wecom:linxiao`."""
OTHERS = {"ntfy": "ntfy", "ntfys": "ntfy", "json": "json", "jsons": "json"}
"""What reaches one person through Apprise: an address of its kind, with `://`."""


HIDDEN = "§"
"""What stands for an address where it is not to be read. No address that can be written to holds it."""


def kind_of(address: str) -> str | None:
    """What kind of channel an address is of; None for none. A bot of a group is called after its scheme."""
    scheme, colon, rest = address.partition(":")
    if not colon or not rest or HIDDEN in rest:
        return None
    return (OTHERS.get(scheme) or scheme) if rest.startswith("//") else OURS.get(scheme)


def _is_personal(address: SecretStr) -> SecretStr:
    kind = kind_of(address.get_secret_value())
    if kind not in {*OURS.values(), *OTHERS.values()}:
        raise _unfit("reach_address")
    return address


def _is_known(address: SecretStr) -> SecretStr:
    if kind_of(address.get_secret_value()) is None:
        raise _unfit("reach_address")
    return address


def _are_hours(hours: str | None) -> str | None:
    if hours is not None:
        try:
            _ = [time.fromisoformat(end) for end in hours.split("-", 1)]
            begins, ends = hours.split("-")
        except ValueError:
            raise _unfit("reach_hours") from None
        if begins == ends:
            raise _unfit("reach_hours")
    return hours


def _is_hour(hour: str | None) -> str | None:
    try:
        _ = not hour or time.fromisoformat(hour)
    except ValueError:
        raise _unfit("reach_hour") from None
    return hour or None


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


Address = Annotated[
    SecretStr, AfterValidator(_is_personal), PlainSerializer(SecretStr.get_secret_value, return_type=str)
]
"""Where somebody is reached. No log and no `repr` shows it; a dump does: what dumps it seals it, or masks it for its reader."""


def masked(address: SecretStr) -> SecretStr:
    """What others may know of somebody's address: of which kind it is."""
    return SecretStr(f"{address.get_secret_value().partition(':')[0]}:{HIDDEN}")


class Reachable(_Table):
    """How one person is reached beside his inbox: nothing but the inbox where there is no channel."""

    channels: tuple[Address, ...] = ()
    """Addresses; the second where the first cannot be delivered to."""
    quiet: Annotated[str | None, AfterValidator(_are_hours)] = None
    """Hours of the calendar's zone in which he is left alone, `22:00-07:00`."""
    language: Language = "zh"
    most_an_hour: int | None = Field(default=None, ge=1)
    """Messages over one channel; None as for everybody."""

    def awake_at(self, instant: datetime, zone: ZoneInfo) -> datetime:
        """The instant itself (UTC), or the end of the quiet hours it lies in."""
        if self.quiet is None:
            return instant
        begins, ends = (time.fromisoformat(end) for end in self.quiet.split("-"))
        here = instant.astimezone(zone)
        now = here.time()
        quiet = begins <= now < ends if begins < ends else (now >= begins or now < ends)
        if not quiet:
            return instant
        day = here.date() + timedelta(days=1 if begins > ends and now >= begins else 0)
        return datetime.combine(day, ends, zone).astimezone(instant.tzinfo)


class Group(_Table):
    """A bot in a group: it is told how many, never what."""

    channels: tuple[Annotated[SecretStr, AfterValidator(_is_known)], ...]
    language: Language = "zh"


class PostRules(_Table):
    """What holds for everybody."""

    window: timedelta = Field(default=timedelta(minutes=1), ge=timedelta(0))
    """After a message to somebody over a channel, what comes within this span waits and becomes one message."""
    most_an_hour: int = Field(default=20, ge=1)
    patience: timedelta = Field(default=timedelta(hours=4), gt=timedelta(0))
    """So long a channel is tried before a message is undeliverable over it."""
    morning: Annotated[str | None, AfterValidator(_is_hour)] = "08:30"
    """When the manager hears of the day; empty: never."""
    receipts: bool = True
    """Whether who writes to the complaint mailbox is told the number of the case."""


class WatchRules(_Table):
    """Where the watch itself rings, past the post: an operator's address, a bot. Each of them hears."""

    channels: tuple[Annotated[SecretStr, AfterValidator(_is_known)], ...] = ()
    language: Language = "zh"


class WecomApp(_Table):
    """An application of WeCom (企业微信)."""

    corp: str
    agent: int
    secret: SecretStr
    api: str = "https://qyapi.weixin.qq.com"


class DingtalkApp(_Table):
    """An internal application of DingTalk (钉钉)."""

    app_key: str
    app_secret: SecretStr
    agent: int
    api: str = "https://oapi.dingtalk.com"


class FeishuApp(_Table):
    """An application of Feishu (飞书)."""

    app_id: str
    app_secret: SecretStr
    ids: Literal["user_id", "open_id"] = "user_id"
    """What the addresses hold."""
    api: str = "https://open.feishu.cn"


class SmsAccount(_Table):
    """Alibaba Cloud's SMS service, with the signature and the template it has approved: no free text.

    The template's variables are `count`, `number`, `what` and `due`.
    """

    access_key: str
    access_secret: SecretStr
    signature: str
    template: str
    api: str = "https://dysmsapi.aliyuncs.com"


class ReachBook(_Table):
    """The file `reach.toml`: what belongs to the installation. Groups, rules, accounts; people are the organisation's."""

    groups: dict[str, Group] = {}
    post: PostRules = PostRules()
    watch: WatchRules = WatchRules()
    wecom: WecomApp | None = None
    dingtalk: DingtalkApp | None = None
    feishu: FeishuApp | None = None
    sms: SmsAccount | None = None

    @model_validator(mode="before")
    @classmethod
    def _names_no_people(cls, written: Any) -> Any:
        if isinstance(written, dict) and "people" in written:
            raise _unfit("reach_people")
        return written

    def group(self, name: str) -> Reachable | None:
        """A group, where somebody is called `group:…` and there is such a group."""
        group = self.groups.get(name.removeprefix(GROUP)) if name.startswith(GROUP) else None
        return Reachable.model_construct(channels=group.channels, language=group.language) if group else None


GROUP = "group:"
NOT_OUTSIDE = Reachable()


def _unfit(code: str) -> PydanticCustomError:
    return PydanticCustomError(code, " · ".join(say("field", code, language) for language in LANGUAGES))

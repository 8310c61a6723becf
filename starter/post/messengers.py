"""WeCom, DingTalk and Feishu: an application's message to one person; and SMS, by the provider's approved template."""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Lock
from time import monotonic
from typing import Any
from urllib.parse import quote

import requests

from models.reach import DingtalkApp, FeishuApp, SmsAccount, WecomApp
from starter.post.tray import DELIVERED, UNREACHABLE, Verdict
from starter.post.wording import Message

TIMEOUTS = (5.0, 15.0)
"""Seconds to connect, and to be answered."""
EARLIER = 300
"""Seconds before it ends, a token is renewed."""


class _Broken(Exception):
    """No answer that says anything: the verdict."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.why)
        self.verdict = verdict


def _asked(call: Callable[[], requests.Response]) -> dict[str, Any]:
    """The answer of an interface: its JSON. _Broken where there is none."""
    try:
        response = call()
        answer: dict[str, Any] = response.json()
    except (requests.ConnectTimeout, requests.exceptions.InvalidURL):
        raise _Broken(Verdict("later", UNREACHABLE)) from None
    except requests.ReadTimeout:
        raise _Broken(Verdict("unsure", "no_answer")) from None
    except requests.ConnectionError as error:
        refused = "refused" in str(error) or "resolve" in str(error) or "unreachable" in str(error)
        raise _Broken(Verdict("later", UNREACHABLE) if refused else Verdict("unsure", "broke_off")) from None
    except (requests.RequestException, ValueError):
        raise _Broken(Verdict("later", "no_answer")) from None
    if not isinstance(answer, dict):
        raise _Broken(Verdict("later", "no_answer"))
    return answer


class _Token:
    """An access token, kept until shortly before it ends."""

    def __init__(self, fetch: Callable[[], tuple[str, int]]) -> None:
        self._fetch = fetch
        self._lock = Lock()
        self._token, self._until = "", 0.0

    def get(self) -> str:
        with self._lock:
            if monotonic() >= self._until:
                self._token, seconds = self._fetch()
                self._until = monotonic() + seconds - EARLIER
            return self._token

    def drop(self) -> None:
        self._until = 0.0


class Wecom:
    """A text message of a WeCom application. WeCom itself drops the same text sent again within four hours."""

    remembers = timedelta(hours=4)
    UNKNOWN_TOKEN = frozenset({40014, 42001, 41001})
    NOBODY = frozenset({40031, 46004, 60111, 81013})

    def __init__(self, app: WecomApp) -> None:
        self._app = app
        self._token = _Token(self._fetch)

    def send(self, address: str, message: Message) -> Verdict:
        person = address.removeprefix("wecom:")
        body: dict[str, Any] = {
            "touser": person,
            "msgtype": "text",
            "agentid": self._app.agent,
            "text": {"content": f"{message.subject}\n{message.text}"},
            "enable_duplicate_check": 1,
            "duplicate_check_interval": int(self.remembers.total_seconds()),
        }
        try:
            url = f"{self._app.api}/cgi-bin/message/send?access_token={self._token.get()}"
            answer = _asked(lambda: requests.post(url, json=body, timeout=TIMEOUTS))
        except _Broken as broken:
            return broken.verdict
        code = answer.get("errcode", -1)
        if code in self.UNKNOWN_TOKEN:
            self._token.drop()
        if code in self.NOBODY or (code == 0 and answer.get("invaliduser")):
            return Verdict("never", "nobody")
        return DELIVERED if code == 0 else Verdict("later", f"errcode_{code}")

    def _fetch(self) -> tuple[str, int]:
        query = {"corpid": self._app.corp, "corpsecret": self._app.secret.get_secret_value()}
        answer = _asked(lambda: requests.get(f"{self._app.api}/cgi-bin/gettoken", params=query, timeout=TIMEOUTS))
        return _token_of(answer, "access_token", "expires_in", "errcode")


class Dingtalk:
    """A work notice (工作通知) of a DingTalk application. DingTalk drops the same text to the same person within a day."""

    remembers = timedelta(hours=20)
    NOBODY = frozenset({33012, 60121, 40031})

    def __init__(self, app: DingtalkApp) -> None:
        self._app = app
        self._token = _Token(self._fetch)

    def send(self, address: str, message: Message) -> Verdict:
        body: dict[str, Any] = {
            "agent_id": self._app.agent,
            "userid_list": address.removeprefix("dingtalk:"),
            "msg": {"msgtype": "text", "text": {"content": f"{message.subject}\n{message.text}"}},
        }
        try:
            url = f"{self._app.api}/topapi/message/corpconversation/asyncsend_v2?access_token={self._token.get()}"
            answer = _asked(lambda: requests.post(url, json=body, timeout=TIMEOUTS))
        except _Broken as broken:
            return broken.verdict
        code = answer.get("errcode", -1)
        if code in (40014, 42001, 88):
            self._token.drop()
        if code in self.NOBODY:
            return Verdict("never", "nobody")
        return DELIVERED if code == 0 else Verdict("later", f"errcode_{code}")

    def _fetch(self) -> tuple[str, int]:
        query = {"appkey": self._app.app_key, "appsecret": self._app.app_secret.get_secret_value()}
        answer = _asked(lambda: requests.get(f"{self._app.api}/gettoken", params=query, timeout=TIMEOUTS))
        return _token_of(answer, "access_token", "expires_in", "errcode")


class Feishu:
    """A text message of a Feishu application. Its `uuid` is our key: Feishu takes it once within an hour."""

    remembers = timedelta(hours=1)
    NOBODY = frozenset({230001, 230013, 99992351, 99992361, 99992360})

    def __init__(self, app: FeishuApp) -> None:
        self._app = app
        self._token = _Token(self._fetch)

    def send(self, address: str, message: Message) -> Verdict:
        body: dict[str, Any] = {
            "receive_id": address.removeprefix("feishu:"),
            "msg_type": "text",
            "content": json.dumps({"text": f"{message.subject}\n{message.text}"}, ensure_ascii=False),
            "uuid": message.key,
        }
        url = f"{self._app.api}/open-apis/im/v1/messages?receive_id_type={self._app.ids}"
        try:
            headers = {"Authorization": f"Bearer {self._token.get()}"}
            answer = _asked(lambda: requests.post(url, json=body, headers=headers, timeout=TIMEOUTS))
        except _Broken as broken:
            return broken.verdict
        code = answer.get("code", -1)
        if code in (99991663, 99991664, 99991661):
            self._token.drop()
        if code in self.NOBODY:
            return Verdict("never", "nobody")
        return DELIVERED if code == 0 else Verdict("later", f"code_{code}")

    def _fetch(self) -> tuple[str, int]:
        url = f"{self._app.api}/open-apis/auth/v3/tenant_access_token/internal"
        body = {"app_id": self._app.app_id, "app_secret": self._app.app_secret.get_secret_value()}
        answer = _asked(lambda: requests.post(url, json=body, timeout=TIMEOUTS))
        return _token_of(answer, "tenant_access_token", "expire", "code")


def _token_of(answer: dict[str, Any], name: str, lasts: str, code: str) -> tuple[str, int]:
    if answer.get(code) != 0 or not isinstance(answer.get(name), str):
        raise _Broken(Verdict("later", "login"))
    return answer[name], int(answer.get(lasts, 7200))


class Sms:
    """A short message by the template and the signature that the provider has approved: codes and times, no free text."""

    remembers = timedelta(0)
    NOBODY = frozenset({"isv.MOBILE_NUMBER_ILLEGAL", "isv.INVALID_PARAMETERS", "isv.BLACK_KEY_CONTROL_LIMIT"})

    def __init__(self, account: SmsAccount) -> None:
        self._account = account

    def send(self, address: str, message: Message) -> Verdict:
        params = {
            "Action": "SendSms",
            "Version": "2017-05-25",
            "Format": "JSON",
            "RegionId": "cn-hangzhou",
            "AccessKeyId": self._account.access_key,
            "SignatureMethod": "HMAC-SHA1",
            "SignatureVersion": "1.0",
            "SignatureNonce": secrets.token_hex(16),
            "Timestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "PhoneNumbers": address.removeprefix("sms:"),
            "SignName": self._account.signature,
            "TemplateCode": self._account.template,
            "TemplateParam": json.dumps(dict(message.values), ensure_ascii=False),
            "OutId": message.key,
        }
        params["Signature"] = self._signature(params)
        try:
            answer = _asked(lambda: requests.get(f"{self._account.api}/", params=params, timeout=TIMEOUTS))
        except _Broken as broken:
            return broken.verdict
        code = str(answer.get("Code", ""))
        if code in self.NOBODY:
            return Verdict("never", "nobody")
        return DELIVERED if code == "OK" else Verdict("later", code[:64] or "no_answer")

    def _signature(self, params: dict[str, str]) -> str:
        """Alibaba Cloud's RPC signature, version 1.0."""
        query = "&".join(f"{_quoted(name)}={_quoted(params[name])}" for name in sorted(params))
        key = f"{self._account.access_secret.get_secret_value()}&".encode()
        made = hmac.new(key, f"GET&%2F&{_quoted(query)}".encode(), hashlib.sha1).digest()
        return base64.b64encode(made).decode()


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")

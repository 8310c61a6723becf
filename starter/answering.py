"""The link by which who is asked answers: another department's contact, or another store, without an account or a command line.

Whoever holds the link may answer this one question, and nothing else, while it is open and his. It is a keyed hash of the
case, the task and its owner: nothing is kept of it, and whoever it was given to before a reassignment holds nothing.

Annotations here are evaluated when a route is made: no `from __future__ import annotations`.
"""

import asyncio
import hashlib
import re
import secrets
from base64 import b64encode
from dataclasses import dataclass
from html import escape
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Header, Request
from fastapi.responses import HTMLResponse
from pydantic import ValidationError

from activities.keys import UnknownKey
from models.complaint import COMPLAINT
from models.complaint.forms import Assist
from models.people import Person, Role
from models.tables import CaseRow, TaskRow
from models.tasks import REOPENING
from models.words import Language, choice, label, language_of, say
from starter.access import asked
from starter.front import Front
from starter.refusals import Busy, Full, Refused, field_errors, reason_of
from starter.shown import CaseView

LONGEST = 8000
PART = re.compile(r"[\w.:-]{1,160}", re.ASCII)
SHOWN = ("content", "demand", "category", "goods", "purchased_on", "store")
STYLE = """body{font:16px/1.6 system-ui,"PingFang SC","Microsoft YaHei","Noto Sans CJK SC",sans-serif;max-width:40em;margin:0 auto;
padding:1em;color:#222}h1{font-size:1.25em}dt{color:#666;font-size:.875em;margin-top:.75em}dd{margin:0;white-space:pre-wrap;
overflow-wrap:anywhere}.question{border-left:4px solid #2a6;padding:.5em 1em;background:#f3f8f5;white-space:pre-wrap}
.wrong{border-left:4px solid #c33;padding:.5em 1em;background:#fbf1f1}label{display:block;margin-top:1.5em;font-weight:600}
textarea{width:100%;box-sizing:border-box;min-height:9em;font:inherit;padding:.5em;border:1px solid #888;border-radius:6px}
button{font:inherit;margin-top:1em;padding:.6em 2.5em;border:0;border-radius:6px;background:#186a43;color:#fff}"""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; "
    f"style-src 'sha256-{b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}


@dataclass(frozen=True)
class Question:
    """What is asked of somebody: his task, and the matter as far as he may see it."""

    person: Person
    task: TaskRow
    view: CaseView

    @property
    def text(self) -> str:
        """The question itself, as it was put."""
        owed = next(event for event in self.view.timeline if event.kind == "owed" and event.task == self.task.key)
        return str((owed.content or {}).get("question", ""))


class Link:
    """One link: who it was given to, and what it is for."""

    def __init__(self, front: Front, case: str, task: str, mark: str) -> None:
        self._front = front
        self._case = case
        self._task = task
        self._mark = mark.replace(".", ":", 1)

    async def question(self) -> Question | None:
        """None where the link is nobody's, or nobody's any more."""
        found = await asyncio.to_thread(self._owner) if self._may_be_one else None
        if found is None:
            return None
        person, task = found
        asked_only = person.model_copy(update={"role": Role.CONTACT})  # whoever holds the link reads it, not he alone
        return Question(person, task, await self._front.look(asked_only, lambda views: views.case(self._case)))

    @property
    def _may_be_one(self) -> bool:
        """Whether it looks like a link at all: what was cut off or garbled on its way asks the ledger nothing."""
        return all(PART.fullmatch(part) for part in (self._case, self._task, self._mark))

    def _owner(self) -> tuple[Person, TaskRow] | None:
        with self._front.house.database.reading() as session:
            case, task = session.get(CaseRow, self._case), session.get(TaskRow, (self._case, self._task))
        if case is None or task is None or case.process != COMPLAINT.name or task.form != Assist.form:
            return None
        try:
            fits = self._front.house.keys.matches(self._mark, asked(self._case, self._task, task.owner))
        except UnknownKey:
            fits = False
        person = self._front.house.people.person(task.owner)
        return (person, task) if fits and person else None

    async def answer(self, question: Question, text: str, key: str) -> str:
        """Hand the answer in; the code of what to say of it. Refused says why it was not taken."""
        form = Assist.model_validate({"answer": text})
        receipt = await self._front.hand_in(COMPLAINT, self._case, form, question.person, self._task, key)
        self._front.taken(receipt)
        return "waiting" if receipt.state == "pending" else "thanks"


class Page:
    """What a holder of a link sees, in his language. Nothing of it is markup that somebody typed."""

    def __init__(self, front: Front, language: Language) -> None:
        self._front = front
        self._language = language

    def said(self, code: str, status: int = 200) -> HTMLResponse:
        """A page that says one thing."""
        return self._page(f"<p>{self._say(code)}</p>", status)

    def asked(
        self, question: Question, typed: str = "", wrong: str = "", key: str = "", status: int = 200
    ) -> HTMLResponse:
        """The question, the matter, and where to answer; again with what was typed where that did not hold."""
        due = f"{question.task.due_at.astimezone(self._front.house.calendar):%Y-%m-%d %H:%M}"
        intro = self._say("intro", number=question.view.number, due=due)
        parts = [
            f"<p>{say('letter', 'line', self._language, label=escape(question.person.name), value=intro)}</p>",
            f'<div class="question">{escape(question.text)}</div>',
            f"<dl>{''.join([*self._facts(question.view.facts or {}), *self._returns(question.view)])}</dl>",
            f'<div class="wrong" role="alert">{escape(wrong)}</div>' if wrong else "",
            '<form method="post" accept-charset="utf-8">',
            f'<input type="hidden" name="key" value="{escape(key or secrets.token_hex(12))}">',
            f'<label for="answer">{escape(label(Assist.form, "answer", self._language))}</label>',
            f'<textarea id="answer" name="answer" required maxlength="{LONGEST}">{escape(typed)}</textarea>',
            f"<button>{self._say('send')}</button></form>",
        ]
        return self._page("".join(parts), status)

    def _facts(self, facts: dict[str, Any], within: str = "") -> list[str]:
        lines = []
        for name, value in facts.items():
            if isinstance(value, dict):
                lines += self._facts(value, f"{within}{name}.") if name in SHOWN else []
            elif within or name in SHOWN:
                field = f"{within}{name}"
                said = (
                    self._store(str(value))
                    if name == "store"
                    else choice(COMPLAINT.name, field, str(value), self._language)
                )
                lines.append(f"<dt>{escape(label(COMPLAINT.name, field, self._language))}</dt><dd>{escape(said)}</dd>")
        return lines

    def _returns(self, view: CaseView) -> list[str]:
        """With what the customer came back, the texts as who is asked may read them."""
        said = [str(entry.content.get("content", "")) for entry in view.returns if entry.content]
        return [f"<dt>{escape(say('form', REOPENING, self._language))}</dt><dd>{escape(text)}</dd>" for text in said]

    def _store(self, code: str) -> str:
        store = self._front.house.people.store(code)
        return store.name if store else code

    def _say(self, code: str, **values: str) -> str:
        return escape(say("answer", code, self._language, **values))

    def _page(self, body: str, status: int) -> HTMLResponse:
        title = self._say("title")
        return HTMLResponse(
            f'<!doctype html><html lang="{self._language}"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>{title}</title><style>{STYLE}</style><h1>{title}</h1>{body}</html>",
            status,
            HEADERS,
        )


Said = Annotated[str | None, Header(alias="Accept-Language")]


def add_routes(router: APIRouter, front: Front) -> None:
    """The page behind the link. It asks for no name: the link says whose it is."""

    @router.get("/answer/{case}/{task}/{mark}", include_in_schema=False)
    async def show_question(case: str, task: str, mark: str, language: Said = None) -> HTMLResponse:
        page, question = Page(front, language_of(language)), await Link(front, case, task, mark).question()
        if question is None:
            return page.said("unknown", 404)
        return page.asked(question) if question.task.state == "open" else page.said(question.task.state)

    @router.post("/answer/{case}/{task}/{mark}", include_in_schema=False)
    async def take_answer(request: Request, case: str, task: str, mark: str, language: Said = None) -> HTMLResponse:
        spoken = language_of(language)
        page, link = Page(front, spoken), Link(front, case, task, mark)
        question = await link.question()
        if question is None:
            return page.said("unknown", 404)
        given = parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)
        typed, key = ("".join(given.get(field, [])[:1]) for field in ("answer", "key"))
        key = key if len(key) == 24 and key.isalnum() else secrets.token_hex(12)
        try:
            return page.said(await link.answer(question, typed, key))
        except ValidationError as error:
            [wrong, *_] = field_errors(error.errors(include_input=False))
            return page.asked(question, typed, reason_of(wrong, spoken), key, 422)
        except (Busy, Full) as refused:
            return page.asked(question, typed, say("refusal", refused.code, spoken), key, refused.status)
        except Refused as refused:
            return page.asked(
                question, typed, say("refusal", refused.code, spoken, **refused.values), status=refused.status
            )

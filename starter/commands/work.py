"""The department's own commands: the same doors as the API, for those who prefer to type."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from models.organisation import Who
from models.people import Role
from models.tasks import OPENING, REOPENING
from models.words import LIST, choice, option, say
from settings import House
from starter.commands.terminal import (
    LANGUAGE,
    As,
    Data,
    fields_of,
    form_word,
    out,
    pairs_of,
    rest_of,
    span,
    table_of,
    with_front,
    word,
)
from starter.docket import Receipt
from starter.facts import flat
from starter.front import Front, task_of
from starter.pages import Page
from starter.refusals import Invalid, NotFound, field_errors
from starter.shown import CaseSummary, CaseView, NoticeView, TaskView, TimelineEntry
from workflows import PROCESSES

Model = TypeVar("Model", bound=BaseModel)

app = typer.Typer()

Name = Annotated[str, typer.Argument(metavar="CASE", help="工单编号或单号 · a case's id, or its business number")]
Fields = Annotated[list[str] | None, typer.Argument(help="字段=值 · field=value, dotted for nested ones")]
Json = Annotated[
    typer.FileText | None, typer.Option("--json", help="从 JSON 文件读取（- 为标准输入） · read the form from JSON")
]
Owner = Annotated[str | None, typer.Option(help="只看某人的 · one person's")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="最多几条 · how many at most")]
Cursor = Annotated[str | None, typer.Option(help="接着上一页 · go on where the page before ended")]


@app.command("open")
def open_case(process: str, by: As, fields: Fields = None, source: Json = None, data: Data = None) -> None:
    """登记工单 · open a case: kefu open complaint --as oa-sh01 form_no=OA-1 kind=complaint …"""

    async def act(front: Front) -> Receipt:
        known = front.process(process)
        facts = filled(known.case, content_of(fields, source))
        return front.taken(await front.open(known, facts, front.actor(by)))

    say_receipt(with_front(data, act))


@app.command("hand-in")
def hand_in(
    case: Name,
    form: str,
    by: As,
    fields: Fields = None,
    source: Json = None,
    task: Annotated[
        str | None, typer.Option(help="同一表单有几项待办时，写明哪一项 · which task, where several are open")
    ] = None,
    data: Data = None,
) -> None:
    """提交表单 · hand in a form: kefu hand-in CASE reply --as lin content=… Several of a kind by number: survey.0.question=…"""

    async def act(front: Front) -> Receipt:
        actor = front.actor(by)
        found = await front.look(actor, lambda views: views.find(case))
        name = found.rpartition("-")[0]
        if name not in PROCESSES:
            raise NotFound("no_such_case", case=case)
        process = front.process(name)
        if (model := process.submittable.get(task_of(form))) is None:
            known = LIST[LANGUAGE].join(option("", "form", known, LANGUAGE) for known in process.submittable)
            raise SystemExit(f"{word('form')}: {say('field', 'literal_error', LANGUAGE, expected=known)}")
        content = content_of(fields, source)
        which = task if "task" in model.model_fields else content.pop("task", task)
        return front.taken(await front.hand_in(process, found, filled(model, content), actor, which))

    say_receipt(with_front(data, act))


@app.command()
def tasks(
    by: As,
    owner: Owner = None,
    everybody: Annotated[bool, typer.Option("--all", help="所有人的 · everybody's")] = False,
    state: Literal["open", "done", "withdrawn"] = "open",
    limit: Limit = 50,
    cursor: Cursor = None,
    data: Data = None,
) -> None:
    """待办列表：专员看自己的，其他人看全部 · tasks, the soonest due first: a specialist's own, else everybody's."""

    async def act(front: Front) -> tuple[Page[TaskView], Who]:
        actor = front.actor(by)
        whose = owner or (actor.id if actor.role is Role.SPECIALIST and not everybody else None)
        page = await front.look(actor, lambda views: views.tasks(owner=whose, state=state, limit=limit, cursor=cursor))
        return page, front.house.people

    page, people = with_front(data, act)
    table = table_of("number", "title", "task", "owner", "due", "state")
    for task in page.items:
        table.add_row(task.number, title_of(task, people), *cells_of(task, people))
    out.print(table if page.items else word("nothing"))
    rest_of(page)


@app.command()
def show(case: Name, by: As, data: Data = None, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """查看工单 · a case as it is by now, its tasks and what happened: where the opening says otherwise, too."""

    async def act(front: Front) -> tuple[CaseView, House]:
        return await front.look(front.actor(by), lambda views: views.case(views.find(case))), front.house

    view, house = with_front(data, act)
    if as_json:
        print(view.model_dump_json(indent=2))
    else:
        show_case(view, house)


@app.command()
def inbox(by: As, limit: Limit = 50, cursor: Cursor = None, data: Data = None) -> None:
    """消息 · what you were told, the latest first."""

    async def act(front: Front) -> tuple[Page[NoticeView], House]:
        actor = front.actor(by)
        page = await front.look(actor, lambda views: views.notices(language=LANGUAGE, limit=limit, cursor=cursor))
        return page, front.house

    page, house = with_front(data, act)
    table = table_of("at", "message", "case")
    for notice in page.items:
        table.add_row(f"{notice.created_at:%m-%d %H:%M}", notice.text, notice.case or "")
    out.print(table if page.items else word("nothing"))
    links = {
        notice.answer: notice for notice in page.items if notice.answer
    }  # a question's is told again with each notice
    for link, notice in links.items():
        values = {"form": notice.task, "case": notice.case, "link": f"{house.settings.link or ''}{link}"}
        say_line(say("screen", "answer_link", LANGUAGE, **values))
    rest_of(page)


@app.command()
def cases(
    by: As,
    q: Annotated[str | None, typer.Option(help="单号或工单号 · a business number, or a case id")] = None,
    state: Annotated[Literal["open", "archived"] | None, typer.Option()] = None,
    kind: Annotated[str | None, typer.Option(help="现属类型 · what it is taken for now: complaint, query")] = None,
    owner: Owner = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    data: Data = None,
) -> None:
    """工单列表 · cases, the soonest due first."""

    async def act(front: Front) -> tuple[Page[CaseSummary], Who]:
        actor = front.actor(by)
        page = await front.look(
            actor, lambda views: views.cases(q=q, state=state, kind=kind, owner=owner, limit=limit, cursor=cursor)
        )
        return page, front.house.people

    page, people = with_front(data, act)
    table = table_of("number", "title", "state", "due", "case")
    for case in page.items:
        due = f"{case.due_at:%Y-%m-%d %H:%M}" if case.due_at else ""
        table.add_row(case.number, title_of(case, people), word(case.state), due, case.case)
    out.print(table if page.items else word("nothing"))
    rest_of(page)


# How it is shown


def title_of(case: CaseSummary | TaskView, people: Who) -> str:
    """What a case is about, with nothing of the customer: its process, the kind where that says more, and the store."""
    store = people.store(case.store)
    kind = case.kind if isinstance(case, CaseSummary) and case.kind not in (None, case.process) else None
    parts = [
        word(case.process),
        kind and choice(case.process, "kind", kind, LANGUAGE),
        store.name if store else case.store,
    ]
    return " · ".join(part for part in parts if part)


def cells_of(task: TaskView, people: Who) -> list[str]:
    state = word("overdue") if task.overdue and task.state == "open" else word(task.state)
    if task.state == "open" and not task.possible and not task.by_itself:
        state += f" · {word('not_possible')}"
    return [form_word(task.task), people.name(task.owner), f"{task.due_at:%Y-%m-%d %H:%M}", state]


def show_case(view: CaseView, house: House) -> None:
    people = house.people
    numbers = " · ".join([view.number, *view.also_numbered])
    say_line(f"{word('case')} {view.case}  {word('number')} {numbers}  {title_of(view, people)}  {word(view.state)}")
    if view.facts is None:
        say_line(say("refusal", "may_not_read", LANGUAGE))
    facts = in_order(PROCESSES[view.process].case, view.facts)
    for label, value in fields_of(view.process, facts, house, view.corrected):
        say_line(f"  {label}: {value}")
    for entry in view.returns:
        came_at = datetime.fromisoformat((entry.content or {}).get("received_at") or entry.at.isoformat())
        said = (entry.content or {}).get("content", "")
        say_line(f"  {form_word(REOPENING)} {came_at.astimezone(house.calendar):%Y-%m-%d %H:%M}: {said}")
    table = table_of("task", "owner", "due", "state")
    for task in view.tasks:
        table.add_row(*cells_of(task, people))
    out.print(table)
    for sent in view.pending:
        who = people.name(sent.by)
        say_line(f"{sent.recorded_at:%m-%d %H:%M}  {form_word(sent.form)}  {who}  {word('processing')}")
    shown: set[str | None] = {None}
    for event in view.timeline:
        say_line(line_of(event, people))
        if event.submission not in shown and event.form != OPENING:
            form = str(event.form)
            model = PROCESSES[view.process].submittable.get(form)
            for label, value in fields_of(form, in_order(model, in_words(event.content, view)), house):
                say_line(f"    {label}: {value}")
        elif event.kind == "opened":
            for label, value in fields_of(view.process, before(view, event.content), house):
                say_line(f"    {label}: {value}")
        shown.add(event.submission)


def in_order(model: type[BaseModel] | None, content: dict[str, Any] | None) -> dict[str, Any]:
    """The contents as the form has its fields; the ledger keeps them by name."""
    fields = list(model.model_fields) if model else []
    return dict(sorted((content or {}).items(), key=lambda item: fields.index(item[0]) if item[0] in fields else 0))


def before(view: CaseView, opened: dict[str, Any] | None) -> dict[str, Any]:
    """What the opening said of the fields that were corrected since."""
    said = flat(opened or {})
    return {name: said[name] for name in view.corrected if name in said}


def in_words(content: dict[str, Any] | None, view: CaseView) -> dict[str, Any] | None:
    """The contents with the survey's questions as they are asked."""
    asked = {question.code: getattr(question, LANGUAGE) for question in view.survey}
    if not content or "survey" not in content:
        return content
    said = [{**answer, "question": asked.get(answer["question"], answer["question"])} for answer in content["survey"]]
    return {**content, "survey": said}


def line_of(event: TimelineEntry, people: Who) -> str:
    """When what happened, by whom, how late, and who was told."""
    task = form_word(event.task) if event.task else ""
    who = people.name(event.by) if event.by and event.kind not in ("owed", "told") else ""
    late = say("screen", "late", LANGUAGE, span=span(event.late)) if event.late else ""
    told = "→ " + LIST[LANGUAGE].join(people.name(person) for person in event.told) if event.told else ""
    kind = f"noted_{event.data['what']}" if event.kind == "noted" else event.kind
    said = (f"{event.at:%m-%d %H:%M}", f"{say('event', kind, LANGUAGE)} {task}".strip(), who, late, told)
    return "  ".join(part for part in said if part)


def say_line(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def say_receipt(receipt: Receipt) -> None:
    out.print(f"{receipt.case}  {word('processing') if receipt.state == 'pending' else 'ok'}  {receipt.submission}")


# What is typed


def filled(model: type[Model], content: dict[str, Any]) -> Model:
    """The form with these contents. Invalid says which field does not hold."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise Invalid(field_errors(error.errors(), model)) from error


def content_of(fields: list[str] | None, source: Any) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.load(source) if source else {}
    except ValueError as error:
        raise SystemExit(f"{source.name}: {say('field', 'json_invalid', LANGUAGE)} ({error})") from error
    for field, value in pairs_of(fields or [], "field").items():
        *path, last = field.split(".")
        place = content
        for step in path:
            place = place.setdefault(step, {}) if isinstance(place, dict) else place
        if not isinstance(place, dict):
            raise SystemExit(f"{field}: {say('field', 'dict_type', LANGUAGE)}")
        place[last] = value
    return {name: listed(value) for name, value in content.items()}


def listed(content: Any) -> Any:
    """What was typed as `survey.0.question=…` is a list."""
    if not isinstance(content, dict):
        return content
    inner = {name: listed(value) for name, value in content.items()}
    numbers = [str(n) for n in range(len(inner))]
    return [inner[n] for n in numbers] if inner and set(inner) == set(numbers) else inner

"""The department's own commands: the same doors as the API, for those who prefer to type."""

import json
from typing import Annotated, Any

import typer

from models.words import say
from starter.commands.terminal import LANGUAGE, As, Data, form_word, out, pairs_of, table_of, with_front, word
from starter.front import Front
from starter.refusals import NotFound
from starter.submissions import Receipt
from starter.views import CaseSummary, CaseView, NoticeView, TaskView
from workflows import PROCESSES

app = typer.Typer()

Fields = Annotated[list[str] | None, typer.Argument(help="字段=值 · field=value, dotted for nested ones")]
Json = Annotated[
    typer.FileText | None, typer.Option("--json", help="从 JSON 文件读取（- 为标准输入） · read the form from JSON")
]


@app.command("open")
def open_case(process: str, by: As, fields: Fields = None, source: Json = None, data: Data = None) -> None:
    """登记工单 · open a case: kefu open complaint --as oa-sh01 form_no=OA-1 kind=complaint …"""

    async def act(front: Front) -> Receipt:
        known = front.process(process)
        return await front.open(known, known.case.model_validate(content_of(fields, source)), front.actor(by))

    say_receipt(with_front(data, act))


@app.command("hand-in")
def hand_in(
    case: str,
    form: str,
    by: As,
    fields: Fields = None,
    source: Json = None,
    task: Annotated[
        str | None, typer.Option(help="同一表单有几项待办时，写明哪一项 · which task, where several are open")
    ] = None,
    data: Data = None,
) -> None:
    """提交表单 · hand in a form: kefu hand-in CASE reply --as lin content=…"""

    async def act(front: Front) -> Receipt:
        name = case.rpartition("-")[0]
        if name not in PROCESSES:
            raise NotFound("no_such_case", case=case)
        process = front.process(name)
        if form not in process.submittable:
            raise SystemExit(f"{form}: 只能是 · must be one of {', '.join(process.submittable)}")
        content = process.submittable[form].model_validate(content_of(fields, source))
        return await front.hand_in(process, case, content, front.actor(by), task)

    say_receipt(with_front(data, act))


@app.command()
def tasks(
    by: As,
    owner: Annotated[str | None, typer.Option(help="只看某人的 · one person's")] = None,
    state: str = "open",
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    data: Data = None,
) -> None:
    """待办列表 · tasks, the soonest due first."""

    async def act(front: Front) -> list[TaskView]:
        page = await front.look(front.actor(by), lambda views: views.tasks(owner=owner, state=state, limit=limit))
        return page.items

    show_tasks(with_front(data, act))


@app.command()
def show(case: str, by: As, data: Data = None, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """查看工单 · a case, its tasks and what happened."""

    async def act(front: Front) -> CaseView:
        return await front.look(front.actor(by), lambda views: views.case(case))

    view = with_front(data, act)
    if as_json:
        print(view.model_dump_json(indent=2))
        return
    out.print(f"{word('case')} {view.case}  {word('number')} {view.number}  {word(view.state)}", markup=False)
    show_tasks(view.tasks, with_case=False)
    for sent in view.pending:
        out.print(
            f"{sent.recorded_at:%m-%d %H:%M}  {form_word(sent.form)}  {sent.by}  {word('processing')}", markup=False
        )
    for event in view.timeline:
        task = form_word(event.task) if event.task else ""
        who = "" if event.kind == "owed" else event.by or event.data.get("person") or ""
        out.print(f"{event.at:%m-%d %H:%M}  {say('event', event.kind, LANGUAGE)} {task}  {who}", markup=False)


@app.command()
def inbox(by: As, limit: Annotated[int, typer.Option(min=1, max=200)] = 50, data: Data = None) -> None:
    """消息 · what you were told, the latest first."""

    async def act(front: Front) -> list[NoticeView]:
        page = await front.look(front.actor(by), lambda views: views.notices(language=LANGUAGE, limit=limit))
        return page.items

    found = with_front(data, act)
    table = table_of("at", "message", "case")
    for notice in found:
        table.add_row(f"{notice.created_at:%m-%d %H:%M}", notice.text, notice.case)
    out.print(table if found else word("nothing"))


@app.command()
def cases(
    by: As,
    q: Annotated[str | None, typer.Option(help="单号或工单号 · a business number, or a case id")] = None,
    state: Annotated[str | None, typer.Option(help="open, archived")] = None,
    owner: Annotated[str | None, typer.Option(help="只看某人的 · one person's")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    data: Data = None,
) -> None:
    """工单列表 · cases, the soonest due first."""

    async def act(front: Front) -> list[CaseSummary]:
        actor = front.actor(by)
        page = await front.look(actor, lambda views: views.cases(q=q, state=state, owner=owner, limit=limit))
        return page.items

    found = with_front(data, act)
    table = table_of("number", "state", "due", "case")
    for case in found:
        due = f"{case.due_at:%Y-%m-%d %H:%M}" if case.due_at else ""
        table.add_row(case.number, word(case.state), due, case.case)
    out.print(table if found else word("nothing"))


def show_tasks(found: list[TaskView], with_case: bool = True) -> None:
    table = table_of("task", "owner", "due", "state", *(["case"] if with_case else []))
    for task in found:
        state = word("overdue") if task.overdue and task.state == "open" else word(task.state)
        if task.state == "open" and not task.possible:
            state += f" · {word('not_possible')}"
        cells = [form_word(task.task), task.owner, f"{task.due_at:%Y-%m-%d %H:%M}", state]
        table.add_row(*cells, *([task.case] if with_case else []))
    out.print(table if found else word("nothing"))


def say_receipt(receipt: Receipt) -> None:
    if receipt.refusal:
        raise SystemExit(say("refusal", receipt.refusal.code, LANGUAGE, **receipt.refusal.values))
    out.print(f"{receipt.case}  {word('processing') if receipt.state == 'pending' else 'ok'}  {receipt.submission}")


def content_of(fields: list[str] | None, source: Any) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.load(source) if source else {}
    except ValueError as error:
        raise SystemExit(f"{source.name}: {say('field', 'json_invalid', LANGUAGE)} ({error})") from error
    for field, value in pairs_of(fields or [], "field").items():
        *path, last = field.split(".")
        place = content
        for step in path:
            place = place.setdefault(step, {})
        place[last] = value
    return content

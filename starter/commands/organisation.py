"""Commands for the organisation: who works here, who is away, and what goes to whom meanwhile."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from models.people import Person
from models.words import LIST, aside, choice, option, say
from settings import House
from starter.commands.terminal import LANGUAGE, As, Data, form_word, out, table_of, with_front
from starter.front import Front
from starter.organisation import hand_over, versions
from starter.organisation.doors import Applied, change, end_of_absence
from starter.organisation.files import HEADERS, BadOrganisation, read
from workflows import PROCESSES

app = typer.Typer(help="组织：人员、门店、班表、请假 · people, stores, rosters, absences")
"""The commands of `kefu org`."""

Note = Annotated[str, typer.Option(help="说明，有关的人都会看到 · why; everybody concerned reads it")]


@app.command()
def load(
    file: Annotated[Path, typer.Argument(help="TOML 或 Excel · a TOML file, or a workbook")],
    by: As,
    yes: Annotated[bool, typer.Option("--yes", help="直接生效，不再询问 · applies it without asking")] = False,
    data: Data = None,
) -> None:
    """装入组织 · reads the whole organisation from a file, shows what would change, and applies it when you say so."""

    async def act(front: Front, preview: bool) -> tuple[Applied, House]:
        document = read(file, front.house.settings.zone).model_dump(mode="json")
        return await change(front, front.actor(by), "loaded", lambda _: document, preview, None), front.house

    try:
        found, house = with_front(data, lambda front: act(front, True))
    except BadOrganisation as error:
        raise SystemExit(str(error)) from error
    _show_changes(found.changes, house)
    if not found.changes:
        return
    if not yes and not typer.confirm(say("screen", "apply", LANGUAGE)):
        raise typer.Exit(1)
    applied, _ = with_front(data, lambda front: act(front, False))
    out.print(say("screen", "applied", LANGUAGE, version=applied.version))


@app.command()
def show(by: As, data: Data = None, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """查看组织 · people, their regions and hours, who is away."""

    async def act(front: Front) -> tuple[dict[str, Any], House]:
        person = front.actor(by)
        if person.role not in versions.MAY_READ:
            raise SystemExit(say("refusal", "may_not_organise", LANGUAGE, role=person.role))
        return versions.seen_by(person, front.house.people.now).model_dump(mode="json"), front.house

    document, house = with_front(data, act)
    if as_json:
        print(json.dumps(document, ensure_ascii=False, indent=2))
        return
    away = {one["person"]: one for one in document["absences"]}
    table = table_of("id", "name", "role", "where", "deputies", "channels", "away")
    for one in document["people"]:
        table.add_row(
            one["id"],
            one["name"],
            say("role", one["role"], LANGUAGE),
            " ".join(
                [
                    *one["regions"],
                    *filter(None, (one["store"], choice("", "department", one["department"] or "", LANGUAGE))),
                ]
            ),
            " ".join(one["deputies"]),
            " ".join(one["channels"]),
            _days(away[one["id"]], house) if one["id"] in away else "",
        )
    out.print(table)


@app.command()
def history(by: As, limit: int = 20, data: Data = None) -> None:
    """历次修改 · the versions, the latest first."""

    async def act(front: Front) -> tuple[list[versions.Version], House]:
        person = front.actor(by)
        if person.role not in versions.MAY_READ:
            raise SystemExit(say("refusal", "may_not_organise", LANGUAGE, role=person.role))
        read = front.house.people.version
        found = await front.look(person, lambda views: versions.history(views.session, person, read, limit))
        return found, front.house

    found, house = with_front(data, act)
    for version in found:
        by_whom, what = house.people.name(version.by), say("screen", f"org_{version.what}", LANGUAGE)
        out.print(f"[bold]{version.version}[/]  {_here(version.at, house)}  {by_whom}  {what}")
        _show_changes(version.changes, house)


@app.command()
def away(
    person: str,
    since: Annotated[datetime, typer.Option(help="开始 · begins, in the calendar's zone")],
    until: Annotated[datetime, typer.Option(help="结束 · ends")],
    by: As,
    deputy: Annotated[str | None, typer.Option(help="由谁代理 · who stands in")] = None,
    data: Data = None,
) -> None:
    """请假 · somebody will be away; `kefu org hand-over` then gives his open tasks to who stands in."""

    async def act(front: Front) -> tuple[Applied, House]:
        zone = front.house.calendar
        absence = {
            "person": person,
            "since": since.replace(tzinfo=zone).isoformat(),
            "until": until.replace(tzinfo=zone).isoformat(),
            "deputy": deputy,
        }

        def made(document: dict[str, Any]) -> dict[str, Any]:
            document["absences"].append(absence)
            return document

        return await change(front, front.actor(by), "absence", made, False, None), front.house

    applied, house = with_front(data, act)
    _show_changes(applied.changes, house)


@app.command()
def end(person: str, by: As, data: Data = None) -> None:
    """销假 · somebody is back before the time; what was handed over goes back to him."""

    async def act(front: Front) -> tuple[Applied, House]:
        return await end_of_absence(front, front.actor(by), person), front.house

    applied, house = with_front(data, act)
    _show_changes(applied.changes, house)


@app.command("hand-over")
def hand_over_(person: str, by: As, note: Note, data: Data = None) -> None:
    """一并交接 · all that somebody who is away owes goes to who stands in, in one act. Clocks run on."""
    _moved(person, by, note, data, hand_over.hand_over)


@app.command("give-back")
def give_back(person: str, by: As, note: Note, data: Data = None) -> None:
    """交还 · what is still open and still with his deputy goes back."""
    _moved(person, by, note, data, hand_over.give_back)


def _moved(person: str, by: str, note: str, data: Path | None, act: Any) -> None:
    async def moved(front: Front) -> tuple[list[hand_over.Handed], House]:
        actor: Person = front.actor(by)
        directory = front.house.people.now
        absence = hand_over.absence_of(directory, person, front.now())
        items: list[hand_over.Handed] = await front.write(
            lambda session, at: act(session, front.submissions, PROCESSES, directory, absence, actor, note, at)
        )
        return items, front.house

    items, house = with_front(data, moved)
    table = table_of("number", "task", "owner", "due")
    for item in items:
        owner = house.people.name(person if item.returned else item.deputy)
        table.add_row(item.number, form_word(item.task), owner, _here(item.due_at, house))
    out.print(table if items else say("screen", "nothing", LANGUAGE))


def _show_changes(changes: list[versions.Change], house: House) -> None:
    if not changes:
        out.print(say("screen", "unchanged", LANGUAGE))
    for one in changes:
        fields = "; ".join(
            f"{_header(name)}: {_said(name, was, house)} → {_said(name, now, house)}"
            for name, (was, now) in one.fields.items()
        )
        what, kind = (say("screen", f"org_{word}", LANGUAGE) for word in (one.what, one.kind))
        out.print(f"  {what} {kind} {_called(one, house)}  {fields}", markup=False)


def _called(change: versions.Change, house: House) -> str:
    """Which one: people by their names, too; an absence by whose it is, and from when."""
    named, _, since = change.id.partition("/")
    if change.kind == "absence":
        return f"{_person(named, house)} {_said('since', since, house)}"
    return _person(named, house) if change.kind == "person" else change.id


def _person(id: str, house: House) -> str:
    name = house.people.name(id)
    return id if name == id else aside(id, name, LANGUAGE)


def _header(name: str) -> str:
    """What a field is called, as in the head of a workbook's column."""
    return HEADERS.get(name, name) if LANGUAGE == "zh" else name


def _said(name: str, value: Any, house: House) -> str:
    if value in (None, "", []):
        return "–"
    if name in ("role", "department"):
        return option("", name, value, LANGUAGE)
    if name in ("since", "until"):
        return _here(datetime.fromisoformat(value), house)
    return LIST[LANGUAGE].join(map(str, value)) if isinstance(value, list) else str(value)


def _days(absence: dict[str, Any], house: House) -> str:
    return " – ".join(_here(datetime.fromisoformat(absence[name]), house)[:10] for name in ("since", "until"))


def _here(instant: datetime, house: House) -> str:
    """In the calendar's zone."""
    return f"{instant.astimezone(house.calendar):%Y-%m-%d %H:%M}"

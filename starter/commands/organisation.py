"""Commands for the organisation: who works here, who is away, and what goes to whom meanwhile."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from models.people import Person
from models.words import say
from starter.commands.terminal import LANGUAGE, As, Data, form_word, out, table_of, with_front
from starter.front import Front
from starter.organisation import hand_over, versions
from starter.organisation.doors import Applied, change, end_of_absence
from starter.organisation.files import BadOrganisation, read
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

    async def act(front: Front, preview: bool) -> Applied:
        document = read(file, front.house.settings.zone).model_dump(mode="json")
        return await change(front, front.actor(by), "loaded", lambda _: document, preview, None)

    try:
        found: Applied = with_front(data, lambda front: act(front, True))
    except BadOrganisation as error:
        raise SystemExit(str(error)) from error
    _show_changes(found.changes)
    if not found.changes:
        return
    if not yes and not typer.confirm(say("screen", "apply", LANGUAGE)):
        raise typer.Exit(1)
    applied: Applied = with_front(data, lambda front: act(front, False))
    out.print(say("screen", "applied", LANGUAGE, version=applied.version))


@app.command()
def show(by: As, data: Data = None, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """查看组织 · people, their regions and hours, who is away."""

    async def act(front: Front) -> Any:
        person = front.actor(by)
        if person.role not in versions.MAY_READ:
            raise SystemExit(say("refusal", "may_not_organise", LANGUAGE, role=person.role))
        return versions.seen_by(person, front.house.people.now).model_dump(mode="json")

    document = with_front(data, act)
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
            " ".join([*one["regions"], *filter(None, (one["store"], one["department"]))]),
            " ".join(one["deputies"]),
            " ".join(one["channels"]),
            f"{away[one['id']]['since'][:10]} – {away[one['id']]['until'][:10]}" if one["id"] in away else "",
        )
    out.print(table)


@app.command()
def history(by: As, limit: int = 20, data: Data = None) -> None:
    """历次修改 · the versions, the latest first."""

    async def act(front: Front) -> list[versions.Version]:
        person = front.actor(by)
        if person.role not in versions.MAY_READ:
            raise SystemExit(say("refusal", "may_not_organise", LANGUAGE, role=person.role))
        read_version = front.house.people.version
        return await front.look(person, lambda views: versions.history(views.session, person, read_version, limit))

    for version in with_front(data, act):
        out.print(f"[bold]{version.version}[/]  {version.at:%Y-%m-%d %H:%M}Z  {version.by}  {version.what}")
        _show_changes(version.changes)


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

    async def act(front: Front) -> Applied:
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

        return await change(front, front.actor(by), "absence", made, False, None)

    _show_changes(with_front(data, act).changes)


@app.command()
def end(person: str, by: As, data: Data = None) -> None:
    """销假 · somebody is back before the time; what was handed over goes back to him."""

    async def act(front: Front) -> Applied:
        return await end_of_absence(front, front.actor(by), person)

    _show_changes(with_front(data, act).changes)


@app.command("hand-over")
def hand_over_(person: str, by: As, note: Note, data: Data = None) -> None:
    """一并交接 · all that somebody who is away owes goes to who stands in, in one act. Clocks run on."""
    _moved(person, by, note, data, hand_over.hand_over)


@app.command("give-back")
def give_back(person: str, by: As, note: Note, data: Data = None) -> None:
    """交还 · what is still open and still with his deputy goes back."""
    _moved(person, by, note, data, hand_over.give_back)


def _moved(person: str, by: str, note: str, data: Path | None, act: Any) -> None:
    async def moved(front: Front) -> list[hand_over.Handed]:
        actor: Person = front.actor(by)
        directory = front.house.people.now
        absence = hand_over.absence_of(directory, person, front.now())
        items: list[hand_over.Handed] = await front.write(
            lambda session, at: act(session, front.submissions, PROCESSES, directory, absence, actor, note, at)
        )
        return items

    table = table_of("number", "task", "owner", "due")
    for item in with_front(data, moved):
        table.add_row(item.number, form_word(item.task), item.deputy, f"{item.due_at:%m-%d %H:%M}Z")
    out.print(table)


def _show_changes(changes: list[versions.Change]) -> None:
    if not changes:
        out.print(say("screen", "unchanged", LANGUAGE))
    for one in changes:
        fields = "; ".join(f"{name}: {was} → {now}" for name, (was, now) in one.fields.items())
        out.print(f"  {say('screen', f'org_{one.what}', LANGUAGE)} {one.kind} {one.id}  {fields}", markup=False)

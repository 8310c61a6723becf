"""Commands for paper: the record form of a case, the register of a period."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from models.words import say
from starter.attachments.cabinet import A_CASE, AttachmentView
from starter.attachments.doors import Removal
from starter.attachments.uploads import from_disk
from starter.commands.terminal import LANGUAGE, As, Data, out, table_of, with_front, word
from starter.commands.work import Name, filled
from starter.front import Front
from starter.papers import doors

app = typer.Typer()

Output = Annotated[
    Path | None, typer.Option("--output", "-o", dir_okay=False, help="写到哪个文件 · the file to write; replaced")
]
Attachment = Annotated[str, typer.Argument(help="附件编号 · the attachment's id")]


@app.command()
def record(
    case: Name,
    by: As,
    output: Output = None,
    masked: Annotated[bool, typer.Option("--masked", help="脱敏 · name and contacts masked")] = False,
    archive: Annotated[
        bool, typer.Option("--archive", help="存档用：同样的内容总是同样的文件 · the same state is the same file")
    ] = False,
    data: Data = None,
) -> None:
    """打印处理表 · 《顾客投诉意见处理表》 of a case, as PDF."""

    async def act(front: Front) -> tuple[str, bytes]:
        actor = front.actor(by)
        found = await front.look(actor, lambda views: views.find(case))
        return await doors.record(front, actor, found, masked, archive, LANGUAGE)

    name, paper = with_front(data, act)
    write(output or Path(doors.plain(name)), [paper])


@app.command()
def register(
    by: As,
    since: Annotated[str, typer.Option(help="从哪天起，如 2026-11-01 · received from the beginning of this day")],
    until: Annotated[str, typer.Option(help="到哪天止，不含这一天 · to the beginning of this day")],
    output: Output = None,
    data: Data = None,
) -> None:
    """导出客诉台账 · the register of a period, as Excel."""

    async def act(front: Front) -> None:
        period = filled(doors.Period, {"since": since, "until": until})
        name, pieces = await doors.register(front, front.actor(by), period, LANGUAGE)
        write(output or Path(name), pieces)

    with_front(data, act)


def write(path: Path, pieces: Iterable[bytes]) -> None:
    """A file that only its owner can read, there once it is whole."""
    part = path.with_name(f".{path.name}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.writelines(pieces)
        part.replace(path)
    except OSError as error:
        raise SystemExit(say("template", "not_written", LANGUAGE, path=path, reason=error.strerror)) from error
    finally:
        part.unlink(missing_ok=True)
    out.print(say("template", "written", LANGUAGE, path=path), markup=False, highlight=False)


# Attachments


@app.command()
def attach(
    case: Name,
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", exists=True, dir_okay=False, show_default=False)],
    by: As,
    caption: Annotated[str | None, typer.Option(help="说明 · what they show")] = None,
    data: Data = None,
) -> None:
    """添加附件 · add pictures, PDFs or short films to a case: kefu attach CASE photo.jpg --as lin"""

    async def act(front: Front) -> list[AttachmentView]:
        actor = front.actor(by)
        found = await front.look(actor, lambda views: views.find(case))
        front.attachments.admit(found, actor)
        with from_disk(files, front.attachments.vault, A_CASE) as arrived:
            taken, _ = await front.attachments.add(found, actor, arrived, caption)
        return taken

    for taken in with_front(data, act):
        out.print(f"{taken.id}  ok  {taken.kind}  {_size(taken)}", highlight=False)


@app.command()
def attachments(case: Name, by: As, data: Data = None) -> None:
    """附件列表 · a case's attachments."""

    async def act(front: Front) -> list[AttachmentView]:
        actor = front.actor(by)
        found = await front.look(actor, lambda views: views.find(case))
        return front.attachments.of(found, actor)

    found = with_front(data, act)
    table = table_of("attachment", "at", "by", "name", "size", "caption")
    for one in found:
        what = f"{one.name or ''}" if one.removed_at is None else f"{word('removed')} · {one.removed_because or ''}"
        table.add_row(one.id, f"{one.at:%m-%d %H:%M}", one.by, what, _size(one), one.caption or "")
    out.print(table if found else word("nothing"))


@app.command()
def fetch(
    case: Name,
    attachment: Attachment,
    by: As,
    to: Annotated[Path, typer.Option(file_okay=False, exists=True, help="存到哪个目录 · the directory")] = Path(),
    data: Data = None,
) -> None:
    """取出附件 · write an attachment into a directory, under its own name; nothing there is written over."""

    async def act(front: Front) -> Path:
        actor = front.actor(by)
        found = await front.look(actor, lambda views: views.find(case))
        view, file = front.attachments.look(found, attachment, actor)
        path = to / str(view.name)
        with file, path.open("xb") as target:
            target.writelines(file.pieces())
        return path

    try:
        out.print(str(with_front(data, act)), highlight=False, markup=False)
    except FileExistsError as error:
        raise SystemExit(f"{error.filename}: 已存在 · is there already") from error


@app.command()
def detach(
    case: Name,
    attachment: Attachment,
    by: As,
    reason: Annotated[str, typer.Option(help="原因 · why")],
    data: Data = None,
) -> None:
    """删除附件 · remove an attachment for good; who, when and why stays."""

    async def act(front: Front) -> AttachmentView:
        actor = front.actor(by)
        found = await front.look(actor, lambda views: views.find(case))
        return front.attachments.remove(found, attachment, actor, filled(Removal, {"reason": reason}).reason)

    out.print(f"{with_front(data, act).id}  ok", highlight=False)


def _size(one: AttachmentView) -> str:
    seen = f"{one.width}×{one.height}  " if one.width else ""
    return f"{seen}{max(one.size // 1024, 1)} KB"

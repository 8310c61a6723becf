"""Attachments of a case: what comes in, what of it stays, who sees it, and that nothing of it lies anywhere in the clear."""

import asyncio
import base64
import logging
import os
import struct
from collections.abc import AsyncIterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pikepdf
import pillow_heif
import pytest
from cryptography.exceptions import InvalidTag
from httpx2 import AsyncClient, Response
from PIL import Image, ImageCms, PngImagePlugin
from temporalio.client import Client
from typer.testing import CliRunner

from activities.keys import KeyRing, UnknownKey, needed
from activities.payloads import data_converter
from models.tables import AttachmentRow
from settings import House
from starter.__main__ import app as kefu
from starter.attachments import mp4
from starter.attachments.cabinet import A_CASE, REGRET, Attachments
from starter.attachments.uploads import A_REQUEST, MB, from_disk, kind_of
from starter.attachments.vault import PIECE, Vault
from tests.conftest import KEYS
from tests.office import Office

RED, BLUE = (200, 30, 30), (30, 30, 200)
PLACE = "N31.1318 E121.2854 家门口"
KEY_B = "b:" + base64.b64encode(b"b" * 32).decode()


@pytest.fixture
async def desk(house: House) -> AsyncIterator[Office]:
    """The doors and the ledger; nobody here needs the engine."""
    client = await Client.connect("localhost:1", data_converter=data_converter(house.keys), lazy=True)
    async with Office(client, house) as office:
        yield office


# Files as people have them


def drawing(width: int = 400, height: int = 300) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (width, height), BLUE)
    image.paste(RED, (0, 0, width // 2, height))
    return image


def photo(width: int = 400, height: int = 300, turned: int = 6, image: Image.Image | None = None) -> bytes:
    """As a phone writes it: where, with what, and which side is up."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x010F] = turned, PLACE, "MAKER-X"
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2], gps[3], gps[4] = "N", (31.0, 7.0, 54.0), "E", (121.0, 17.0, 7.0)
    gps[29] = "2026:11:22"
    out = BytesIO()
    (image or drawing(width, height)).save(out, "JPEG", quality=92, exif=exif, comment=PLACE.encode())
    return out.getvalue()


def screenshot(**extra: str) -> bytes:
    words = PngImagePlugin.PngInfo()
    for name, text in extra.items():
        words.add_text(name, text)
    out = BytesIO()
    drawing().convert("RGBA").save(out, "PNG", pnginfo=words)
    return out.getvalue()


def heic() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = PLACE
    out = BytesIO()
    pillow_heif.from_pillow(drawing()).save(out, exif=exif.tobytes())
    return out.getvalue()


def pdf(change: Any = None, **options: Any) -> bytes:
    made = pikepdf.new()
    made.add_blank_page()
    if change:
        change(made)
    out = BytesIO()
    made.save(out, **({"deterministic_id": True} | options))
    return out.getvalue()


def box(name: str, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", len(body) + 8, name.encode("latin-1")) + body


def track(media: str, scale: int, times: tuple[int, int], sizes: list[int], at: int) -> bytes:
    entry = bytes(42) + b"ENCODER-X".ljust(32) + bytes(4) + box("avcC", b"setup") + box("uuid", PLACE.encode())
    if media != "vide":
        entry = bytes(20)
    stbl = box(
        "stbl",
        box("stsd", struct.pack(">II", 0, 1), box("avc1" if media == "vide" else "gpmd", entry)),
        box("stts", struct.pack(">IIII", 0, 1, *times)),
        box("stsc", struct.pack(">IIIII", 0, 1, 1, len(sizes), 1)),
        box("stsz", struct.pack(">III", 0, 0, len(sizes)), *(struct.pack(">I", size) for size in sizes)),
        box("stco", struct.pack(">III", 0, 1, at)),
    )
    dinf = box("dinf", box("dref", struct.pack(">II", 0, 1), box("url ", b"\0\0\0\1")))
    return box(
        "trak",
        box("tkhd", struct.pack(">III", 0, 0xDA7E, 0xDA7E), bytes(64), struct.pack(">II", 640 << 16, 360 << 16)),
        box(
            "mdia",
            box("mdhd", struct.pack(">IIIII", 0, 0xDA7E, 0xDA7E, scale, 0), bytes(4)),
            box("hdlr", bytes(8), media.encode(), bytes(12), b"MAKER-X\0"),
            box("minf", box("vmhd", bytes(12)), dinf, stbl),
        ),
        box("udta", PLACE.encode()),
    )


def film(seconds: int = 5, more: bytes = b"", front: bytes = b"", pictures: bytes = b"PICTURES" * 100) -> bytes:
    """A film with its place in three places: beside the tracks, as a track of its own, and between the samples."""
    ftyp = box("ftyp", b"isom\0\0\2\0isomiso2avc1mp41")
    moov = b""
    for _ in range(2):  # once to know how long it is
        at = len(ftyp) + len(front) + len(moov) + 8
        moov = box(
            "moov",
            box("mvhd", struct.pack(">III", 0, 0xDA7E, 0xDA7E), struct.pack(">II", 1000, seconds * 1000), bytes(80)),
            track("vide", 1000, (2, seconds * 500), [len(pictures) - 8, 8], at),
            track("meta", 1000, (1, 1000), [len(PLACE.encode())], at + len(pictures)),
            box("udta", box("\xa9xyz", PLACE.encode())),
        )
    return ftyp + front + moov + box("mdat", pictures, PLACE.encode(), b"between") + more


def opened(jpeg: bytes) -> Image.Image:
    image = Image.open(BytesIO(jpeg))
    image.load()
    return image


# How they are sent


async def send(door: AsyncClient, case: str, *files: bytes, name: str = "照片.jpg", **fields: Any) -> Response:
    parts = [("file", (name, data, "application/octet-stream")) for data in files]
    return await door.post(f"/api/cases/{case}/attachments", files=parts, data=fields)


async def sent(door: AsyncClient, case: str, data: bytes, **fields: Any) -> dict[str, Any]:
    """An attachment that was taken."""
    answer = await send(door, case, data, **fields)
    assert answer.status_code == 201, answer.text
    [one] = answer.json()["items"]
    return one


def files_of(office: Office) -> list[Path]:
    return sorted(path for path in (office.house.settings.data / "attachments").rglob("*") if path.is_file())


def refused(answer: Response) -> tuple[int, str, str]:
    """Status, field, code."""
    problem = answer.json()
    [error] = problem.get("errors") or [{"field": "", "code": problem["code"]}]
    return answer.status_code, error["field"], error["code"]


# What stays of a file


async def test_a_photo_from_a_phone_comes_back_upright_and_says_nothing_of_its_place(desk: Office):
    case = desk.commit_opening().case
    async with desk.api("oa-sh01") as store:
        one = await sent(store, case, photo(4032, 3024), caption="吊牌和跑绒处")
        file = await store.get(f"/api/cases/{case}/attachments/{one['id']}")
        small = await store.get(f"/api/cases/{case}/attachments/{one['id']}/preview")
    assert (one["kind"], one["width"], one["height"]) == ("jpg", 3024, 4032)
    assert (one["name"], one["caption"], one["by"], one["size"]) == (
        "照片.jpg",
        "吊牌和跑绒处",
        "oa-sh01",
        len(file.content),
    )
    image = opened(file.content)
    assert (image.size, dict(image.getexif()), image.info.get("comment")) == ((3024, 4032), {}, None)
    top, bottom = image.getpixel((1500, 100)), image.getpixel((1500, 4000))
    assert top[0] > 150 > top[2]
    assert bottom[2] > 150 > bottom[0]
    assert max(opened(small.content).size) == 480
    for word in (PLACE.encode(), b"MAKER-X", b"2026:11:22", b"Exif"):
        assert word not in file.content + small.content
    assert file.headers["content-type"] == small.headers["content-type"] == "image/jpeg"
    assert file.headers["x-content-type-options"] == "nosniff"
    assert file.headers["cache-control"] == "no-store"
    assert file.headers["content-disposition"].startswith("inline; ")
    assert "filename*=UTF-8''%E7%85%A7%E7%89%87.jpg" in file.headers["content-disposition"]


@pytest.mark.parametrize("turned", range(1, 9))
async def test_every_way_to_hold_a_phone_is_upright_afterwards(desk: Office, turned: int):
    case = desk.commit_opening().case
    async with desk.api() as lin:
        one = await sent(lin, case, photo(turned=turned))
    assert (one["width"], one["height"]) == ((400, 300) if turned < 5 else (300, 400))


async def test_a_heic_becomes_a_jpeg_and_a_png_stays_one(desk: Office):
    case = desk.commit_opening().case
    async with desk.api() as lin:
        apple = await sent(lin, case, heic(), name="IMG_0001.HEIC")
        other = await sent(lin, case, screenshot(Comment=PLACE, GPS=PLACE), name="截图.jpeg")
        files = [await lin.get(f"/api/cases/{case}/attachments/{one['id']}") for one in (apple, other)]
    assert (apple["kind"], apple["name"], apple["width"]) == ("jpg", "IMG_0001.jpg", 400)
    assert (other["kind"], other["name"]) == ("png", "截图.png")
    assert [opened(file.content).format for file in files] == ["JPEG", "PNG"]
    for file in files:
        assert PLACE.encode() not in file.content
        assert opened(file.content).getpixel((10, 10))[0] > 150


async def test_colours_stay_what_they_were_when_their_profile_goes(desk: Office):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    out, plain = BytesIO(), BytesIO()
    drawing().save(out, "PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    drawing().save(plain, "PNG", icc_profile=lab)  # no profile of such a picture: left out
    case = desk.commit_opening().case
    async with desk.api() as lin:
        for data in (out, plain):
            one = await sent(lin, case, data.getvalue())
            image = opened((await lin.get(f"/api/cases/{case}/attachments/{one['id']}")).content)
            assert "icc_profile" not in image.info
            assert image.getpixel((10, 10)) == RED


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "YCbCr"])
async def test_pictures_of_every_sort_are_taken(desk: Office, mode: str):
    out = BytesIO()
    made = drawing().convert("L").point(lambda grey: grey * 256, "I").convert("I;16") if mode == "I;16" else None
    (made or drawing().convert(mode)).save(out, "JPEG" if mode in ("CMYK", "YCbCr") else "PNG")
    case = desk.commit_opening().case
    async with desk.api() as lin:
        one = await sent(lin, case, out.getvalue())
        small = await lin.get(f"/api/cases/{case}/attachments/{one['id']}/preview")
    assert opened(small.content).size == (400, 300)


async def test_a_pdf_stays_byte_for_byte_and_is_never_shown_in_the_browser(desk: Office):
    case, paper = desk.commit_opening().case, pdf()
    async with desk.api() as lin:
        one = await sent(lin, case, paper, name="电子发票.pdf")
        file = await lin.get(f"/api/cases/{case}/attachments/{one['id']}")
        small = await lin.get(f"/api/cases/{case}/attachments/{one['id']}/preview")
    assert (file.content, file.headers["content-type"]) == (paper, "application/pdf")
    assert file.headers["content-disposition"].startswith("attachment; ")
    assert (small.status_code, small.json()["code"]) == (404, "no_preview")


def script(paper: pikepdf.Pdf) -> None:
    paper.Root.OpenAction = pikepdf.Dictionary(S=pikepdf.Name.JavaScript, JS="app.alert(1)")


def launch(paper: pikepdf.Pdf) -> None:
    link = pikepdf.Dictionary(Type=pikepdf.Name.Annot, Subtype=pikepdf.Name.Link, Rect=[0, 0, 9, 9])
    link.A = pikepdf.Dictionary(S=pikepdf.Name.Launch, F="cmd.exe")
    paper.pages[0].Annots = pikepdf.Array([link])


def parcel(paper: pikepdf.Pdf) -> None:
    paper.attachments["setup.exe"] = b"MZ"


def link(paper: pikepdf.Pdf) -> None:
    paper.Root.OpenAction = pikepdf.Dictionary(S=pikepdf.Name.URI, URI="https://example.com")


@pytest.mark.parametrize("act", [script, launch, parcel])
@pytest.mark.parametrize("packed", [pikepdf.ObjectStreamMode.disable, pikepdf.ObjectStreamMode.generate])
async def test_a_pdf_that_acts_is_refused_however_it_is_packed(desk: Office, act: Any, packed: Any):
    case = desk.commit_opening().case
    async with desk.api() as lin:
        assert refused(await send(lin, case, pdf(act, object_stream_mode=packed))) == (422, "file.1", "active_pdf")
    assert files_of(desk) == []


async def test_a_pdf_may_be_protected_but_not_locked_and_may_name_an_address(desk: Office):
    case = desk.commit_opening().case
    locked = pdf(encryption=pikepdf.Encryption(owner="o", user="u"), deterministic_id=False)
    async with desk.api() as lin:
        assert refused(await send(lin, case, locked)) == (422, "file.1", "locked_pdf")
        await sent(lin, case, pdf(encryption=pikepdf.Encryption(owner="o", user=""), deterministic_id=False))
        await sent(lin, case, pdf(link))


async def test_a_film_keeps_its_pictures_and_nothing_else(desk: Office):
    case, original = desk.commit_opening().case, film(more=box("uuid", PLACE.encode()))
    async with desk.api() as lin:
        one = await sent(lin, case, original)
        file = (await lin.get(f"/api/cases/{case}/attachments/{one['id']}")).content
    assert (one["kind"], one["seconds"], one["width"], one["height"]) == ("mp4", 5, 640, 360)
    assert len(file) == len(original)
    at = original.index(b"PICTURES")
    assert file[at : at + 800] == original[at : at + 800]
    for word in (PLACE.encode(), b"MAKER-X", b"ENCODER-X", b"between", struct.pack(">I", 0xDA7E), b"gpmd", b"uuid"):
        assert word in original
        assert word not in file


# What is refused

DAMAGED = {
    "half a photo": photo(800, 600)[:8000],
    "half a png": screenshot()[:400],
    "half a heic": heic()[:-200],
    "half a pdf": pdf()[:-60],
    "a pdf with a tail": pdf() + b"<script>",
    "half a film": film()[:-100],
    "a film whose samples lie outside": film()[:-8] + b"\0" * 4,
    "a film with a tail": film(more=b"PK\3\4"),
}


@pytest.mark.parametrize("what", DAMAGED)
async def test_what_is_damaged_is_refused_and_leaves_nothing(desk: Office, what: str):
    case = desk.commit_opening().case
    async with desk.api() as lin:
        assert refused(await send(lin, case, DAMAGED[what])) == (422, "file.1", "damaged")
        assert (await lin.get(f"/api/cases/{case}/attachments")).json() == {"items": []}
    assert files_of(desk) == []


@pytest.mark.parametrize(
    "data",
    [
        b"<html><script>",
        b"GIF89a" + bytes(600),
        b"PK\3\4" + bytes(600),
        b"MZ" * 400,
        b"#!/bin/sh",
        box("ftyp", b"avif"),
    ],
)
async def test_the_name_and_the_declared_kind_count_for_nothing(desk: Office, data: bytes):
    case = desk.commit_opening().case
    async with desk.api() as lin:
        answer = await send(lin, case, data, name="photo.jpg")
    assert refused(answer) == (422, "file.1", "unknown_kind")
    assert "photo" not in answer.text


async def test_one_file_within_another_does_not_come_through(desk: Office):
    case, inner = desk.commit_opening().case, b"PK\x03\x04 secret archive PK\x05\x06" + bytes(18)
    async with desk.api() as lin:
        one = await sent(lin, case, photo() + inner)
        kept = await lin.get(f"/api/cases/{case}/attachments/{one['id']}")
        assert b"archive" not in kept.content
        hidden = pdf()[: -len(b"%%EOF\n")] + b"%" + inner + b"\n%%EOF\n"
        assert refused(await send(lin, case, hidden)) == (422, "file.1", "two_kinds")
        await sent(lin, case, film(front=box("free", b"%PDF-1.4 archive")))
        again = (await lin.get(f"/api/cases/{case}/attachments")).json()["items"][-1]
        assert b"archive" not in (await lin.get(f"/api/cases/{case}/attachments/{again['id']}")).content


async def test_a_picture_that_would_fill_the_memory_is_refused(desk: Office):
    out = BytesIO()
    Image.new("1", (20000, 20000)).save(out, "PNG")
    case = desk.commit_opening().case
    async with desk.api() as lin:
        answer = await send(lin, case, out.getvalue())
    assert len(out.getvalue()) < MB
    assert refused(answer) == (422, "file.1", "too_many_pixels")
    assert "50" in answer.json()["errors"][0]["reason"]


async def test_films_are_short(desk: Office):
    case = desk.commit_opening().case
    async with desk.api() as lin:
        assert refused(await send(lin, case, film(seconds=61))) == (422, "file.1", "too_long")
        assert refused(await send(lin, case, film(more=box("moof")))) == (422, "file.1", "fragmented")
        await sent(lin, case, film(seconds=60))


@pytest.mark.parametrize(("head", "limit"), [(photo(), 10), (screenshot(), 10), (pdf(), 10), (film(), 30)])
async def test_a_file_over_its_limit_is_refused_with_the_limit(desk: Office, head: bytes, limit: int):
    case = desk.commit_opening().case
    async with desk.api() as lin:
        answer = await send(lin, case, head + bytes(limit * MB))
    assert (answer.status_code, answer.json()["code"]) == (413, "file_too_large")
    assert f"{limit} MB" in answer.json()["detail"]
    assert files_of(desk) == []


async def test_an_upload_is_refused_as_soon_as_it_is_known_to_be_too_large(desk: Office):
    """The second half is never asked for."""
    case, asked = desk.commit_opening().case, 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal asked
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + photo()
        for asked in range(1, 80):  # noqa: B007
            yield bytes(MB)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    async with desk.api() as lin:
        url = f"/api/cases/{case}/attachments"
        answer = await lin.post(url, content=body(), headers=headers)
        announced = await lin.post(url, content=b"", headers=headers | {"Content-Length": str(A_REQUEST + 1)})
    assert (answer.status_code, answer.json()["code"]) == (413, "file_too_large")
    assert asked < 15
    assert (announced.status_code, announced.json()["code"]) == (413, "upload_too_large")
    assert files_of(desk) == []


async def test_an_upload_that_breaks_off_leaves_nothing(desk: Office):
    case = desk.commit_opening().case
    start = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + photo()
    bodies = [start, start + b"\r\n--x", b"--x\r\nnonsense", b"", b"\0" * 100]
    async with desk.api(**{"Content-Type": "multipart/form-data; boundary=x"}) as lin:
        for body in bodies:
            answer = await lin.post(f"/api/cases/{case}/attachments", content=body)
            assert refused(answer) == (422, "body", "upload_broken"), body[:20]
    assert files_of(desk) == []


async def test_what_is_no_form_with_files_is_refused_by_name(desk: Office):
    case = desk.commit_opening().case
    url = f"/api/cases/{case}/attachments"
    async with desk.api() as lin:
        assert refused(await lin.post(url, json={"file": "x"})) == (422, "body", "not_multipart")
        assert refused(await lin.post(url, files={"photo": b"x"})) == (422, "body", "extra_forbidden")
        nothing = await lin.post(url, files={"caption": (None, "只有说明")})
        assert refused(nothing) == (422, "file", "missing")
        assert refused(await send(lin, case, b"")) == (422, "file.1", "file_empty")
        long = await send(lin, case, photo(), caption="长" * 8001)
        assert refused(long) == (422, "caption", "string_too_long")
    assert files_of(desk) == []


async def test_of_several_files_all_are_taken_or_none(desk: Office):
    case = desk.commit_opening().case
    async with desk.api() as lin:
        bad = await send(lin, case, photo(), pdf(script), screenshot())
        assert refused(bad) == (422, "file.2", "active_pdf")
        assert files_of(desk) == []
        good = await send(lin, case, photo(), pdf(), photo())
    assert good.status_code == 201
    assert [one["kind"] for one in good.json()["items"]] == ["jpg", "pdf"], "the third is the first once more"


# The same again


async def test_the_same_file_again_is_the_one_there(desk: Office):
    case, data = desk.commit_opening().case, photo()
    async with desk.api() as lin, desk.api("oa-sh01") as store:
        one = await sent(lin, case, data)
        again = await send(store, case, data, name="other.jpg")
        at_once = await asyncio.gather(*(send(lin, case, screenshot()) for _ in range(4)))
    assert (again.status_code, again.json()["items"]) == (200, [one])
    assert sorted(answer.status_code for answer in at_once) == [200, 200, 200, 201]
    assert len({answer.json()["items"][0]["id"] for answer in at_once}) == 1
    assert len(files_of(desk)) == 4, "two pictures and their previews"


async def test_a_key_repeated_is_the_upload_it_was(desk: Office):
    case = desk.commit_opening().case
    async with desk.api(**{"Idempotency-Key": "click-7"}) as lin:
        first = await send(lin, case, photo(), pdf())
        again = await send(lin, case, photo(), pdf())
        other = await send(lin, case, photo(), screenshot())
        part = await send(lin, case, photo())
        one = first.json()["items"][0]
        await lin.request("DELETE", f"/api/cases/{case}/attachments/{one['id']}", json={"reason": "传错"})
        late = await send(lin, case, photo(), pdf())
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert [refused(answer)[2] for answer in (other, part)] == ["key_reused", "key_reused"]
    assert refused(late) == (409, "", "attachment_removed"), "a repetition brings nothing back"


async def test_a_case_takes_ten(desk: Office):
    case = desk.commit_opening().case
    async with desk.api() as lin:
        for n in range(A_CASE):
            await sent(lin, case, photo(100 + n, 100))
        assert (await send(lin, case, photo(100, 100))).status_code == 200
        full = await send(lin, case, photo(300, 100))
        eleven = await send(lin, case, *(photo(100 + n, 100) for n in range(11)))
    assert refused(full) == (409, "", "too_many_attachments")
    assert refused(eleven) == (413, "", "too_many_files")
    assert len(files_of(desk)) == 2 * A_CASE


# Who may


async def test_who_may_add_see_and_remove(desk: Office):
    case = desk.commit_opening().case  # of SH01
    url = f"/api/cases/{case}/attachments"
    async with desk.api("oa-sh01") as store:
        one = await sent(store, case, photo())
    sees, adds = (200, 200, 200), (200,)
    expected = {"specialist": adds + sees, "manager": adds + sees, "director": (403, *sees)} | {
        "administrator": (403, 403, 403, 403),
        "supervisor": (403, *sees),
        "contact": (403, 404, 404, 404),
    }
    for person in desk.house.people.people:
        async with desk.api(person.id) as door:
            found = (
                (await send(door, case, photo())).status_code,
                (await door.get(url)).status_code,
                (await door.get(f"{url}/{one['id']}")).status_code,
                (await door.get(f"{url}/{one['id']}/preview")).status_code,
            )
        own = adds + sees if person.store == "SH01" else (404, 404, 404, 404)
        assert found == expected.get(person.role, own), person.id
    async with desk.api(None) as nobody:
        assert (await send(nobody, case, photo())).status_code == 401


async def test_an_attachment_belongs_to_its_case(desk: Office):
    case, other = desk.commit_opening().case, desk.commit_opening(store="GZ01", by="oa-gz01").case
    async with desk.api("oa-sh01") as store, desk.api("oa-gz01") as gz:
        one = await sent(store, case, photo())
        through = await gz.get(f"/api/cases/{other}/attachments/{one['id']}")
        removed = await gz.request("DELETE", f"/api/cases/{other}/attachments/{one['id']}", json={"reason": "不是我的"})
    assert [answer.json()["code"] for answer in (through, removed)] == ["no_such_attachment"] * 2


async def test_photos_come_late_but_not_after_the_archive(office: Office):
    case = await office.open()
    async with office.api() as lin:
        one = await sent(lin, case, photo())
        await office.walk(case)
        late = await send(lin, case, screenshot())
        same = await send(lin, case, photo())
        file = await lin.get(f"/api/cases/{case}/attachments/{one['id']}")
        shown = (await lin.get(f"/api/cases/{case}")).json()
    assert refused(late) == refused(same) == (409, "", "case_closed")
    assert file.status_code == 200, "what is there stays to be seen"
    [event] = [event for event in shown["timeline"] if event["kind"] == "attached"]
    assert (event["by"], event["data"]) == ("lin", {"attachment": one["id"], "kind": "jpg"})


async def test_a_removed_file_leaves_who_when_and_why_and_nothing_else(desk: Office):
    case = desk.commit_opening().case
    async with desk.api("oa-sh01") as store, desk.api("wang") as manager:
        one = await sent(store, case, photo(), name="张小红身份证.jpg", caption="拍错了")
        url = f"/api/cases/{case}/attachments/{one['id']}"
        without = await manager.request("DELETE", url, json={})
        removed = await manager.request("DELETE", url, json={"reason": "照片里有身份证"})
        again = await manager.request("DELETE", url, json={"reason": "照片里有身份证"})
        [listed] = (await store.get(f"/api/cases/{case}/attachments")).json()["items"]
        gone = [await store.get(url), await store.get(f"{url}/preview")]
        anew = await send(store, case, photo())
    assert refused(without) == (422, "reason", "missing")
    assert removed.status_code == 200
    assert removed.json() == listed
    assert (listed["removed_by"], listed["removed_because"]) == ("wang", "照片里有身份证")
    assert listed["removed_at"]
    assert (listed["name"], listed["caption"], listed["by"]) == (None, None, "oa-sh01")
    assert [refused(answer)[2] for answer in (again, *gone)] == ["attachment_removed"] * 3
    assert anew.status_code == 201, "the same picture may be added again"
    [row] = [row for row in desk.rows(AttachmentRow, case) if row.id == one["id"]]
    assert row.digest == ""
    assert not [path for path in files_of(desk) if path.name.startswith(one["id"])]


async def test_who_added_it_may_take_it_back_within_the_hour_others_ask_the_manager(desk: Office):
    case = desk.commit_opening().case
    async with desk.api("oa-sh01") as store, desk.api("lin") as lin, desk.api("wang") as manager:
        first, second = await sent(store, case, photo()), await sent(store, case, screenshot())
        url = f"/api/cases/{case}/attachments"
        body = {"reason": "传错了"}
        assert (await lin.request("DELETE", f"{url}/{first['id']}", json=body)).status_code == 403
        assert (await store.request("DELETE", f"{url}/{first['id']}", json=body)).status_code == 200
        desk.clock_stands_at(desk.now() + REGRET + timedelta(minutes=1))
        late = await store.request("DELETE", f"{url}/{second['id']}", json=body)
        assert refused(late) == (403, "", "may_not_detach")
        assert (await manager.request("DELETE", f"{url}/{second['id']}", json=body)).status_code == 200


async def test_whom_a_complaint_is_about_neither_adds_what_proves_it_nor_takes_it_away(desk: Office):
    """5.2 E34: the manager neither, who removes others' files else."""
    case, other = desk.commit_opening(about_employee="wang").case, desk.commit_opening().case
    async with desk.api("lin") as lin, desk.api("wang") as wang:
        photo_of = await sent(lin, case, photo())
        removal = {"json": {"reason": "与本案无关"}}
        for answer in (
            await send(wang, case, photo(turned=1)),
            await wang.request("DELETE", f"/api/cases/{case}/attachments/{photo_of['id']}", **removal),
        ):
            assert refused(answer) == (403, "", "attachments_about_yourself")
        assert (await send(wang, other, photo())).status_code == 201


# At rest


@pytest.mark.sqlite
async def test_no_name_caption_place_or_pixel_lies_anywhere_in_the_clear(
    desk: Office, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    case, noise = desk.commit_opening().case, Image.frombytes("RGB", (64, 64), os.urandom(64 * 64 * 3))
    out = BytesIO()
    noise.save(out, "PNG")
    phone, short = photo(), film()
    caplog.set_level(logging.DEBUG)  # from here on: the pictures themselves were made in this process, too
    async with desk.api() as lin:
        await sent(lin, case, phone, name="张小红吊牌.jpg", caption="袖口跑绒特写")
        await sent(lin, case, out.getvalue(), name="张小红吊牌.png")
        await sent(lin, case, short, name="张小红吊牌.mp4")
        await send(lin, case, b"nothing known", name="张小红吊牌.exe")
        await send(lin, case, phone[:500], name="张小红吊牌.jpg")
        one = (await lin.get(f"/api/cases/{case}/attachments")).json()["items"][1]
        kept = (await lin.get(f"/api/cases/{case}/attachments/{one['id']}")).content
        shown = (await lin.get(f"/api/cases/{case}")).text
    logged = caplog.text.encode() + "".join(capfd.readouterr()).encode() + shown.encode()
    assert opened(kept).tobytes() == noise.tobytes()
    secrets = [word.encode() for word in ("张小红吊牌", "袖口跑绒特写", PLACE, "MAKER-X")]
    secrets += [b"PICTURES", kept[100:116], out.getvalue()[100:116]]
    everything = [path for path in desk.house.settings.data.rglob("*") if path.is_file()]
    assert len(everything) >= 7
    for place, content in [(path.name, path.read_bytes()) for path in everything] + [("the log", logged)]:
        assert [secret for secret in secrets if secret in content] == [], place
    for path in files_of(desk):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_sealed_file_opens_whole_in_its_own_place_or_not_at_all(tmp_path: Path, keys: KeyRing):
    vault, data = Vault(tmp_path, keys), os.urandom(3 * PIECE)
    for name, size in (("aa", 3 * PIECE), ("ab", PIECE), ("ac", 1), ("ad", 0), ("ae", PIECE + 1), ("af", 3 * PIECE)):
        assert vault.keep(name, [data[:size][:1000], data[:size][1000:]]) == size
        with vault.open(name) as file:
            assert (file.size, file.whole()) == (size, data[:size])
    with vault.open("aa") as file:
        assert file.at(PIECE - 5, PIECE + 10) == data[PIECE - 5 : 2 * PIECE + 5]
        assert file.at(3 * PIECE - 3, 50) == data[-3:]
    path = tmp_path / "aa" / "aa"
    whole, frame = path.read_bytes(), (tmp_path / "ab" / "ab").stat().st_size
    for broken in (
        whole[:-frame],
        whole[frame : 2 * frame] + whole[:frame] + whole[2 * frame :],
        whole[:-1] + bytes([whole[-1] ^ 1]),
        whole[: frame * 2] + (tmp_path / "af" / "af").read_bytes()[frame * 2 :],
        whole + whole[:frame],
    ):
        path.write_bytes(broken)
        with vault.open("aa") as file, pytest.raises(InvalidTag):
            file.whole()
    path.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"^$"):
        vault.open("aa")


async def test_a_crash_leaves_files_that_the_next_start_removes_and_only_those(desk: Office):
    case, attachments = desk.commit_opening().case, desk.front.attachments
    async with desk.api() as lin:
        one = await sent(lin, case, photo())
    kept = files_of(desk)
    attachments.vault.keep("ff00", [b"its row never came"])
    half = desk.house.settings.data / "attachments" / "ff" / f"{one['id']}.1234.new"
    half.write_bytes(b"half")
    assert attachments.sweep().forgotten == 0, "somebody may be about to commit it"
    for path in files_of(desk):
        os.utime(path, (0, 0))
    swept = attachments.sweep()
    assert (swept.forgotten, swept.missing) == (2, [])
    assert files_of(desk) == kept
    kept[0].unlink()
    assert attachments.sweep().missing == [one["id"]]


async def test_a_removed_file_whose_bytes_outlived_a_crash_is_removed_at_the_next_start(desk: Office):
    case = desk.commit_opening().case
    async with desk.api() as lin:
        one = await sent(lin, case, pdf())
        [path] = files_of(desk)
        data = path.read_bytes()
        await lin.request("DELETE", f"/api/cases/{case}/attachments/{one['id']}", json={"reason": "x"})
    path.write_bytes(data)
    os.utime(path, (0, 0))
    assert desk.front.attachments.sweep().forgotten == 1
    assert files_of(desk) == []


async def test_a_file_that_is_lost_is_said_to_be(desk: Office):
    case = desk.commit_opening().case
    async with desk.api() as lin:
        one = await sent(lin, case, pdf())
        files_of(desk)[0].unlink()
        answer = await lin.get(f"/api/cases/{case}/attachments/{one['id']}")
    assert (answer.status_code, answer.json()["code"]) == (404, "attachment_lost")


async def test_an_erased_case_has_no_file_name_or_caption_any_more(desk: Office):
    case = desk.commit_opening().case
    async with desk.api() as lin:
        await send(lin, case, photo(), pdf(), caption="x")
        with desk.house.database.writing() as session:
            files = desk.front.attachments.erase_in(session, case, desk.now())
        desk.front.attachments.drop(files)
        found = (await lin.get(f"/api/cases/{case}/attachments")).json()["items"]
    assert files_of(desk) == []
    assert [(one["name"], one["caption"], one["removed_at"] is None) for one in found] == [(None, None, False)] * 2


# Keys


def under(house: House, keys: str, office: Office) -> Attachments:
    """The same files, as a process with these keys has them."""
    ring = KeyRing(keys)
    return Attachments(house.database, ring, house.settings.data / "attachments", office.now, house.calendar)


async def test_the_key_that_sealed_a_file_is_noted_and_the_files_turn_over_to_another(desk: Office):
    case, lin = desk.commit_opening().case, desk.front.actor("lin")
    async with desk.api() as door:
        one = await sent(door, case, photo())
        await sent(door, case, pdf())
        before = (await door.get(f"/api/cases/{case}/attachments/{one['id']}")).content
    turning = under(desk.house, f"{KEY_B},{KEYS}", desk)
    with desk.house.database.writing() as session:
        assert turning.turn_over(session, case) is False, "the files still need the old key"
    assert turning.turn_over_files(case) == 3
    assert turning.turn_over_files(case) == 0
    with desk.house.database.writing() as session:
        assert turning.turn_over(session, case) is True
    only = under(desk.house, KEY_B, desk)
    view, file = only.look(case, one["id"], lin)
    with file:
        assert file.whole() == before
    assert view.name == "照片.jpg"
    assert all(row.digest.startswith("b:") for row in desk.rows(AttachmentRow, case))


async def test_a_case_says_which_keys_its_attachments_need(desk: Office, tmp_path: Path):
    case, lin = desk.commit_opening().case, desk.front.actor("lin")
    other = under(desk.house, f"{KEY_B},{KEYS}", desk)  # a process whose writing key is another
    (tmp_path / "a.pdf").write_bytes(pdf())
    with from_disk([tmp_path / "a.pdf"], other.vault, A_CASE) as files:
        await other.add(case, lin, files)
    assert desk.case(case).keys == "b,test"
    with desk.house.database.reading() as session:
        assert needed(session).keys() == {"b", "test"}
    with pytest.raises(UnknownKey, match="'b'"):
        desk.front.attachments.of(case, lin)


# The command line


def run(*arguments: str) -> str:
    result = CliRunner().invoke(kefu, arguments)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.output


async def test_the_command_line_adds_lists_fetches_and_removes(
    desk: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    case, data = desk.commit_opening().case, desk.house.settings.data
    monkeypatch.setenv("KEFU_KEYS", KEYS)
    monkeypatch.setenv("KEFU_DATA", str(data))
    (tmp_path / "吊牌.jpg").write_bytes(photo())
    (tmp_path / "发票.pdf").write_bytes(pdf())
    files = [str(tmp_path / name) for name in ("吊牌.jpg", "发票.pdf")]
    taken = await asyncio.to_thread(run, "attach", case, *files, "--as", "lin", "--caption", "实物")
    ids = [line.split()[0] for line in taken.splitlines()]
    assert len(ids) == 2
    listed = await asyncio.to_thread(run, "attachments", case, "--as", "lin")
    assert "吊牌" in listed
    (tmp_path / "out").mkdir()
    await asyncio.to_thread(run, "fetch", case, ids[1], "--as", "lin", "--to", str(tmp_path / "out"))
    assert (tmp_path / "out" / "发票.pdf").read_bytes() == pdf()
    await asyncio.to_thread(run, "detach", case, ids[0], "--as", "lin", "--reason", "拍错")
    assert len(files_of(desk)) == 1
    (tmp_path / "x.jpg").write_bytes(b"no picture")
    wrong = await asyncio.to_thread(CliRunner().invoke, kefu, ["attach", case, str(tmp_path / "x.jpg"), "--as", "lin"])
    assert wrong.exit_code == 1
    assert "file.1" in wrong.output + str(wrong.exception)


def test_what_a_file_is_by_its_first_bytes():
    kinds = {kind_of(data) and kind_of(data).name for data in (photo(), screenshot(), heic(), pdf(), film())}  # type: ignore[union-attr]
    assert kinds == {"jpg", "png", "heic", "pdf", "mp4"}
    assert kind_of(b"") is None


def test_a_film_with_any_byte_changed_is_cleaned_or_refused_and_never_leaks_or_breaks():
    """Whatever the index says: what comes out holds the place nowhere, unless the index calls it a picture."""

    class Bytes:
        def __init__(self, data: bytes) -> None:
            self.data, self.size = data, len(data)

        def at(self, offset: int, length: int) -> bytes:
            return self.data[offset : offset + length]

    original = film(pictures=b"PICTURES" * 4)
    for n in range(len(original)):
        for changed in (0, 255, original[n] ^ 1):
            data = original[:n] + bytes([changed]) + original[n + 1 :]
            try:
                made = b"".join(mp4.cleaned(Bytes(data)).pieces())
            except mp4.Unfit:
                continue
            assert len(made) == len(data)

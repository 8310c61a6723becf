"""The HTTP door: what it takes, what it answers, and that it says which field and why."""

import asyncio
import base64
import gc
import json
import re
from datetime import timedelta
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlmodel import select
from temporalio.client import Client

from activities.payloads import data_converter
from models.tables import CaseRow, SubmissionRow
from starter.api import BODY_LIMIT
from starter.relay import SEND_WITHIN, Breaker
from tests.conftest import free_port
from tests.office import DAY, HOUR, Office, connected, eventually

FORMS: dict[str, dict[str, Any]] = {
    "reply": {"content": "已致歉"},
    "solution": Office.SOLUTION,
    "consent": {"accepted": True},
    "execution": {"content": "新衣已寄出"},
    "callback": {"outcome": "satisfied", "satisfaction": 5},
    "record": {"finding": "充绒工艺不良"},
}


async def test_a_complaint_goes_from_submission_to_archive_over_http(office: Office):
    async with office.api("oa-sh01") as store, office.api("lin") as lin:
        opened = await store.post("/api/cases/complaint", json=office.complaint())
        assert opened.status_code == 201, opened.text
        case = opened.json()["case"]
        assert opened.headers["location"] == f"/api/cases/{case}"
        assert {task["task"]: task["possible"] for task in opened.json()["tasks"] if not task["by_itself"]} == {
            "reply": True,
            "solution": True,
            "callback": False,
        }
        for form, body in FORMS.items():
            answer = await lin.post(f"/api/cases/complaint/{case}/{form}", json=body)
            assert answer.status_code == 200, answer.text
        assert answer.json()["state"] == "archived"
        assert answer.json()["closed_because"] == "completed"


async def test_an_answer_shows_what_it_did(office: Office):
    case = await office.open()
    async with office.api("lin") as lin:
        answer = (await lin.post(f"/api/cases/complaint/{case}/reply", json=FORMS["reply"])).json()
    reply = next(task for task in answer["tasks"] if task["task"] == "reply")
    assert (reply["state"], reply["done_by"]) == ("done", "lin")
    assert answer["submission_state"] == "decided"
    assert answer["timeline"][-1]["content"] == {"content": "已致歉"}


async def test_instants_are_shown_in_the_calendars_zone_with_their_offset(office: Office):
    case = await office.open()
    async with office.api() as lin:
        shown = (await lin.get(f"/api/cases/{case}")).json()
    assert shown["opened_at"].endswith("+08:00")
    assert shown["tasks"][0]["rungs"][0]["offset"] == "-PT4H"


async def test_fifty_simultaneous_submissions_of_one_form_make_one_case(office: Office):
    form = office.complaint()
    async with office.api("oa-sh01") as store:
        answers = await asyncio.gather(*(store.post("/api/cases/complaint", json=form) for _ in range(50)))
    assert {answer.status_code for answer in answers} <= {200, 201, 202}
    assert max(answer.status_code for answer in answers) in (201, 202)
    assert len({answer.json()["case"] for answer in answers}) == 1
    with office.house.database.reading() as session:
        assert len(session.exec(select(CaseRow)).all()) == 1
        assert len(session.exec(select(SubmissionRow)).all()) == 1


async def test_the_same_form_again_is_the_same_case_also_after_it_has_closed(office: Office):
    form = office.complaint()
    async with office.api("oa-sh01") as store:
        first = await store.post("/api/cases/complaint", json=form)
        again = await store.post("/api/cases/complaint", json=form)
        assert (first.status_code, again.status_code) == (201, 200)
        assert again.json() == first.json()
        await office.walk(first.json()["case"])
        after = await store.post("/api/cases/complaint", json=form)
    assert after.status_code == 200
    assert after.json()["case"] == first.json()["case"]
    assert after.json()["state"] == "archived"


async def test_the_same_form_after_the_engine_has_forgotten_the_case_is_still_the_same_case(
    engine: str, office: Office
):
    form = office.complaint()
    async with office.api("oa-sh01") as store:
        case = (await store.post("/api/cases/complaint", json=form)).json()["case"]
        await office.walk(case)
    forgetful = Office(await connected(engine, office.house), office.house)  # an engine that never heard of it
    async with forgetful.api("oa-sh01") as store, forgetful.api("lin") as lin:
        again = await store.post("/api/cases/complaint", json=form)
        late = await lin.post(f"/api/cases/complaint/{case}/reply", json=FORMS["reply"])
    assert (again.status_code, again.json()["case"], again.json()["state"]) == (200, case, "archived")
    assert (late.status_code, late.json()["code"]) == (409, "case_closed")


@pytest.mark.parametrize("by", ["oa-sh01", "lin"])
async def test_another_matter_under_the_same_number_is_a_conflict(office: Office, by: str):
    """Of another receipt, or typed by a person: only what a store's system sends again is a correction (5.2 E27)."""
    form = office.complaint()
    other = form | {"content": "另一件事"}
    if by == "oa-sh01":
        other["received_at"] = (office.now() - HOUR).isoformat()
    async with office.api(by) as sender:
        await sender.post("/api/cases/complaint", json=form)
        answer = await sender.post("/api/cases/complaint", json=other)
    assert (answer.status_code, answer.json()["code"]) == (409, "number_taken")


async def test_a_repeated_key_gets_the_old_answer_and_with_another_body_a_conflict(office: Office):
    case = await office.open()
    async with office.api("lin", **{"Idempotency-Key": "click-1"}) as lin:
        url = f"/api/cases/complaint/{case}/reply"
        first = await lin.post(url, json=FORMS["reply"])
        again = await lin.post(url, json=FORMS["reply"])
        other = await lin.post(url, json={"content": "另一种说法"})
        elsewhere = await lin.post(f"/api/cases/complaint/{case}/solution", json=FORMS["solution"])
        somebody_else = await lin.post(url, json=FORMS["reply"], headers={"X-Kefu-Actor": "wang"})
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    assert (other.status_code, other.json()["code"]) == (409, "key_reused")
    assert [answer.status_code for answer in (elsewhere, somebody_else)] == [409, 409]
    assert len([event for event in office.events(case) if event.submission == "click-1"]) == 1


async def test_a_refused_key_is_refused_again_with_the_same_reason(office: Office):
    case = await office.open()
    async with office.api("lin", **{"Idempotency-Key": "too-soon"}) as lin:
        url = f"/api/cases/complaint/{case}/callback"
        answers = [await lin.post(url, json=FORMS["callback"]) for _ in range(2)]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(409, "not_possible_yet")] * 2
    assert answers[0].json()["detail"] == "“投诉回访”要在“落实”完成之后才能提交。"


async def test_without_a_worker_a_submission_is_taken_and_shown_as_being_processed(closed_office: Office):
    office = closed_office
    async with office.api("oa-sh01") as store, office.api("lin") as lin:
        began = monotonic()
        opened = await store.post("/api/cases/complaint", json=office.complaint())
        assert monotonic() - began < SEND_WITHIN.total_seconds() / 2, "the door does not wait as long as the relay"
        assert opened.status_code == 202
        case = opened.json()["case"]
        assert (opened.json()["state"], opened.json()["processing"]) == ("open", True)
        replied = await lin.post(f"/api/cases/complaint/{case}/reply", json=FORMS["reply"])
        assert replied.status_code == 202
        assert [sent["form"] for sent in replied.json()["pending"]] == ["open", "reply"]


async def test_without_an_engine_submissions_are_taken_and_once_that_is_known_at_once(house):
    nowhere = await Client.connect(f"127.0.0.1:{free_port()}", data_converter=data_converter(house.keys), lazy=True)
    async with Office(nowhere, house) as office, office.api("oa-sh01") as store:
        took = []
        for _ in range(5):
            began = monotonic()
            answer = await store.post("/api/cases/complaint", json=office.complaint())
            took.append(monotonic() - began)
            assert answer.status_code == 202, answer.text
        assert max(took) < SEND_WITHIN.total_seconds() / 2
        assert not office.relay.breaker.lets_through(), "known to be away, it is not waited for"


async def test_what_was_taken_while_the_engine_was_away_is_delivered_once_and_judged_by_when_it_was_recorded(
    closed_office: Office,
):
    office = closed_office
    async with office.api("oa-sh01") as store, office.api("lin") as lin:
        case = (await store.post("/api/cases/complaint", json=office.complaint())).json()["case"]
        await lin.post(f"/api/cases/complaint/{case}/reply", json=FORMS["reply"])
    recorded = office.rows(SubmissionRow, case, SubmissionRow.recorded_at)[1].recorded_at
    await office.worker_comes()
    relay = asyncio.create_task(office.relay.run())
    await eventually(lambda: office.open_tasks(case) == {"solution", "callback"}, within=30)
    relay.cancel()
    assert office.tasks(case)["reply"].done_at == recorded
    assert office.tasks(case)["reply"].owed_at < recorded


async def test_a_refusal_after_a_202_reaches_its_sender_with_the_reason(closed_office: Office):
    office = closed_office
    async with office.api("oa-sh01") as store, office.api("lin") as lin:
        case = (await store.post("/api/cases/complaint", json=office.complaint())).json()["case"]
        early = await lin.post(f"/api/cases/complaint/{case}/callback", json=FORMS["callback"])
        assert early.status_code == 202
        assert (await lin.get("/api/notices")).json()["items"] == []
        await office.worker_comes()
        await eventually(lambda: delivered(office, case), within=30)
        notice = (await lin.get("/api/notices")).json()["items"][0]
        assert notice["what"] == "refused"
        assert "“投诉回访”要在“落实”完成之后才能提交" in notice["text"]
        assert notice["submission"] == early.json()["submission"]
        draft = await lin.get(f"/api/submissions/{early.json()['submission']}")
        assert draft.json()["content"] == {"outcome": "satisfied", "satisfaction": 5}


async def delivered(office: Office, case: str) -> bool:
    await office.relay.deliver(case)
    return all(row.state != "pending" for row in office.rows(SubmissionRow, case))


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"content": None}, "content", "string_type"),
        ({"content": ""}, "content", "string_too_short"),
        ({"content": "长" * 8001}, "content", "string_too_long"),
        ({"kind": "grumble"}, "kind", "literal_error"),
        ({"received_at": "2026-11-22T10:00:00"}, "received_at", "timezone_aware"),
        ({"received_at": "yesterday"}, "received_at", "datetime_from_date_parsing"),
        ({"form_no": "a b"}, "form_no", "string_pattern_mismatch"),
        ({"customer": {"phone": "1", "age": 3}}, "customer", "extra_forbidden"),
        ({"goods": {"price": "-1"}}, "goods.price", "greater_than_equal"),
        ({"at": "2026-11-22T10:00:00Z"}, "body", "extra_forbidden"),
        ({"origin": "store"}, "store_handling", "store_handling_needed"),
        ({"store_handling": {"陈女士 13800000001": "x"}}, "store_handling", "extra_forbidden"),
    ],
)
async def test_a_bad_field_is_named_with_the_reason_and_without_the_value(
    closed_office: Office, change: dict[str, Any], field: str, code: str
):
    body = closed_office.complaint(**change)
    async with closed_office.api("oa-sh01") as store:
        answer = await store.post("/api/cases/complaint", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [(error["field"], error["code"]) for error in answer.json()["errors"]] == [(field, code)]
    assert "13800000001" not in answer.text
    assert answer.json()["errors"][0]["reason"] != "内容不符合要求"


@pytest.mark.parametrize(
    ("form", "fields", "field", "meant"),
    [
        ("amend", {"customer": {"fone": "13800000001"}}, "customer", "customer.phone"),
        ("amend", {"contant": "x"}, "body", "content"),
        ("callback", {"survey": [{"question": "service", "scor": 5}]}, "survey.0", "survey.0.score"),
        ("callback", {"survey": [{"question": "service", "张小红": 5}]}, "survey.0", None),
    ],
)
async def test_a_field_that_there_is_not_is_refused_with_where_and_what_was_probably_meant(
    closed_office: Office, form: str, fields: dict[str, Any], field: str, meant: str | None
):
    """Within others, too; its name is not repeated, for it may be a piece of what was sent."""
    async with closed_office.api("lin") as lin:
        path = f"/api/cases/complaint/complaint-0123456789/{form}"
        answer = await lin.post(
            path, json={"outcome": "satisfied", "satisfaction": 5} | fields if form == "callback" else fields
        )
    [error] = [error for error in answer.json()["errors"] if error["code"] == "extra_forbidden"]
    assert error["field"] == field
    assert error["reason"].startswith(
        f"有这里没有的字段，可能想写的是 {meant}；" if meant else "有这里没有的字段；可用的字段："
    )
    assert not any(name in answer.text for name in ("fone", "contant", "张小红"))


async def test_a_missing_form_number_is_named(closed_office: Office):
    body = closed_office.complaint()
    del body["form_no"], body["customer"]
    async with closed_office.api("oa-sh01") as store:
        answer = await store.post("/api/cases/complaint", json=body)
        english = await store.post("/api/cases/complaint", json=body, headers={"Accept-Language": "en"})
    assert [(error["field"], error["reason"]) for error in answer.json()["errors"]] == [
        ("form_no", "必填"),
        ("customer", "必填"),
    ]
    assert english.json()["errors"][0]["reason"] == "is required"


async def test_a_callback_that_reached_the_customer_says_how_satisfied(closed_office: Office):
    async with closed_office.api("lin") as lin:
        answer = await lin.post("/api/cases/complaint/complaint-0123456789/callback", json={"outcome": "satisfied"})
    assert [(error["field"], error["code"]) for error in answer.json()["errors"]] == [
        ("satisfaction", "satisfaction_needed")
    ]


async def test_a_body_over_the_limit_is_refused(closed_office: Office):
    async with closed_office.api("oa-sh01") as store:
        announced = await store.post("/api/cases/complaint", content=b"x" * (BODY_LIMIT + 1))

        async def endless():
            for _ in range(200):
                yield b"x" * 1024

        streamed = await store.post("/api/cases/complaint", content=endless())
    assert [answer.status_code for answer in (announced, streamed)] == [413, 413]
    assert announced.json()["code"] == streamed.json()["code"] == "too_large"


@pytest.mark.parametrize(
    ("actor", "status", "code"),
    [(None, 401, "unknown_actor"), ("ghost", 401, "unknown_actor"), ("admin", 403, "may_not_open")],
)
async def test_every_door_asks_who_you_are_and_what_you_may(
    closed_office: Office, actor: str | None, status: int, code: str
):
    async with closed_office.api(actor) as somebody:
        answer = await somebody.post("/api/cases/complaint", json=closed_office.complaint())
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_store_sees_and_opens_only_its_own_cases(office: Office):
    case = await office.open(store="SH01")
    async with office.api("oa-gz01") as other:
        assert (await other.get(f"/api/cases/{case}")).status_code == 404
        assert (await other.get("/api/cases")).json()["items"] == []
        assert (await other.get("/api/tasks")).json()["items"] == []
        assert (await other.post("/api/cases/complaint", json=office.complaint(store="SH01"))).json()[
            "code"
        ] == "other_store"
    async with office.api("oa-sh01") as own:
        assert (await own.get(f"/api/cases/{case}")).status_code == 200


async def test_the_administrator_sees_how_a_case_runs_and_nothing_of_the_customer(office: Office):
    case = await office.open()
    async with office.api("admin") as admin:
        shown = await admin.get(f"/api/cases/{case}")
    assert shown.json()["facts"] is None
    assert "张小红" not in shown.text


async def test_unknown_places_and_cases_are_problems_too(closed_office: Office):
    async with closed_office.api() as lin:
        answers = [
            await lin.get("/nowhere"),
            await lin.get("/api/cases/complaint-zzzzzzzzzz"),
            await lin.post("/api/cases/complaint/complaint-zzzzzzzzzz/reply", json=FORMS["reply"]),
            await lin.post("/api/cases/refund", json={}),
            await lin.delete("/api/tasks"),
            await lin.get("/api/tasks", params={"cursor": "??"}),
            await lin.get("/api/tasks", params={"limit": 201}),
            await lin.post("/api/cases/complaint", content=b"{", headers={"Content-Type": "application/json"}),
        ]
    assert [answer.status_code for answer in answers] == [404, 404, 404, 405, 405, 422, 422, 422]
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}


async def test_lists_are_sorted_by_due_time_and_paged_to_the_end(office: Office):
    for hours in (1, 30, 3, 20, 5):
        await office.open(received_at=(office.now() - hours * HOUR).isoformat())
    async with office.api() as lin:
        tasks = await all_pages(lin, "/api/tasks", limit=4, owner="lin")
        cases = await all_pages(lin, "/api/cases", limit=2)
        soon = await all_pages(lin, "/api/tasks", limit=50, due_before=(office.now() + DAY).isoformat())
    assert len({(task["case"], task["task"]) for task in tasks}) == 15
    assert [task["due_at"] for task in tasks] == sorted(task["due_at"] for task in tasks)
    assert len({case["case"] for case in cases}) == 5
    assert [case["due_at"] for case in cases] == sorted(case["due_at"] for case in cases)
    assert soon
    assert len(soon) < 15


async def all_pages(client: Any, url: str, **query: Any) -> list[dict[str, Any]]:
    items, cursor = [], None
    while True:
        page = (await client.get(url, params=query | ({"cursor": cursor} if cursor else {}))).json()
        items += page["items"]
        assert len(page["items"]) <= query["limit"]
        if not (cursor := page["cursor"]):
            return items


FAR = ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-01", "2026-W01-1", "111111111111111111", "x")


@pytest.mark.parametrize("far", FAR)
async def test_no_instant_however_far_or_odd_breaks_a_list(closed_office: Office, far: str):
    def cursor(*parts: str) -> str:
        return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()

    async with closed_office.api() as lin:
        answers = [
            *[await lin.get("/api/cases", params={name: far}) for name in ("from", "to")],
            await lin.get("/api/tasks", params={"due_before": far}),
            await lin.get("/api/tasks", params={"cursor": cursor(far, "x", "y")}),
            await lin.get("/api/cases", params={"cursor": cursor(far, "\ud800")}),
            await lin.get("/api/notices", params={"cursor": cursor(far)}),
        ]
        opened = await lin.post("/api/cases/complaint", json=closed_office.complaint(received_at=far))
    assert {answer.status_code for answer in answers} <= {200, 422}
    assert opened.status_code == 422


async def test_cases_are_found_by_number_store_state_and_owner(office: Office):
    case = await office.open(store="GZ01", by="oa-gz01")
    await office.open(store="SH01")
    number = office.case(case).number
    async with office.api() as lin:
        for query in (
            {"q": number},
            {"store": "GZ01"},
            {"region": "south"},
            {"owner": "chen"},
            {"state": "open", "q": number},
        ):
            found = (await lin.get("/api/cases", params=query)).json()["items"]
            assert [item["case"] for item in found] == [case], query
        assert (await lin.get("/api/cases", params={"state": "archived"})).json()["items"] == []


async def test_the_interface_describes_every_form_by_itself(closed_office: Office):
    async with closed_office.api(None) as anybody:
        document = (await anybody.get("/openapi.json")).json()
    for form in (*FORMS, "solve", "extend", "reassign"):
        body = document["paths"][f"/api/cases/complaint/{{case}}/{form}"]["post"]["requestBody"]
        assert "$ref" in body["content"]["application/json"]["schema"], form
    for hidden in ("by", "at", "submission"):
        assert hidden not in document["components"]["schemas"]["Reply"]["properties"]


async def test_a_page_of_another_origin_cannot_be_pointed_at_the_desk(closed_office: Office):
    async with closed_office.api() as lin:
        assert (await lin.get("/api/tasks", headers={"Host": "evil.example"})).status_code == 400


async def test_an_open_case_says_who_is_to_do_what_and_why_then(office: Office):
    case = await office.open()
    async with office.api() as lin:
        task = (await lin.get("/api/tasks", params={"owner": "lin", "limit": 1})).json()["items"][0]
    assert (task["case"], task["task"], task["state"], task["possible"]) == (case, "reply", "open", True)
    assert task["due_because"]["anchor"] == "received_at"
    assert [(rung["role"], rung["fired_at"]) for rung in task["rungs"]] == [
        ("owner", None),
        ("manager", None),
        ("director", None),
    ]


# What a door refuses


async def test_a_store_the_directory_does_not_know_is_refused_by_its_field(closed_office: Office):
    office = closed_office
    async with office.api("lin") as lin:
        unknown = await lin.post("/api/cases/complaint", json=office.complaint(store="SH99"))
        without = await lin.post("/api/cases/complaint", json=office.complaint(store=None))
    assert unknown.status_code == 422
    assert [(error["field"], error["code"]) for error in unknown.json()["errors"]] == [("store", "unknown_store")]
    assert without.status_code == 202


async def test_a_key_that_is_no_field_is_not_repeated_and_the_fields_are_named(closed_office: Office):
    body = closed_office.complaint(customer={"name": "辰", "手机13800000001": "x"})
    async with closed_office.api("oa-sh01") as store:
        answer = await store.post("/api/cases/complaint", json=body)
    assert "13800000001" not in answer.text
    assert "name, phone, email" in answer.json()["errors"][0]["reason"]


@pytest.mark.parametrize(
    ("url", "query", "field", "known"),
    [
        ("/api/tasks", {"ownr": "lin"}, "query", "owner"),
        ("/api/cases", {"13800000001": "x"}, "query", "from"),
        ("/api/notices", {"state": "open"}, "query", "cursor"),
        ("/api/tasks", {"state": "closed"}, "state", "withdrawn（已取消）"),
        ("/api/cases", {"state": "done"}, "state", "archived（已结案）"),
        ("/api/cases", {"process": "refund"}, "process", "complaint（客诉）"),
        ("/api/tasks", {"owner": "林晓"}, "owner", "lin"),
        ("/api/cases", {"owner": "ghost"}, "owner", "chen"),
    ],
)
async def test_a_mistyped_filter_is_refused_with_what_there_is(
    closed_office: Office, url: str, query: dict[str, str], field: str, known: str
):
    async with closed_office.api() as lin:
        answer = await lin.get(url, params=query)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert known in answer.json()["errors"][0]["reason"]
    assert "13800000001" not in answer.text


async def test_a_business_number_in_the_place_of_an_id_is_told_from_an_unknown_case(office: Office):
    case = await office.open(form_no="YL-1")
    async with office.api("lin") as lin, office.api("oa-gz01") as other:
        shown = await lin.get("/api/cases/YL-1")
        sent = await lin.post("/api/cases/complaint/YL-1/reply", json=FORMS["reply"])
        hidden = await other.get("/api/cases/YL-1")
    for answer in (shown, sent):
        assert (answer.status_code, answer.json()["code"]) == (404, "number_for_id")
        assert case in answer.json()["detail"]
    assert hidden.json()["code"] == "no_such_case"
    assert case not in hidden.text


async def test_another_stores_number_tells_nothing_of_its_case(office: Office):
    facts = {"form_no": "YL-1", "received_at": office.now().isoformat()}
    case = await office.open(**facts, store="SH01", by="lin")
    for form in (office.complaint(**facts, store=None), office.complaint(**facts, store="GZ01")):
        async with office.api("oa-gz01") as other:
            answer = await other.post("/api/cases/complaint", json=form)
        assert (answer.status_code, answer.json()["code"]) == (409, "number_taken")
        assert case not in answer.text
    unnamed = await office.open(by="lin", form_no="YL-2", received_at=facts["received_at"], store=None)
    async with office.api("oa-gz01") as other:
        again = await other.post(
            "/api/cases/complaint", json=office.complaint(**facts | {"form_no": "YL-2"}, store=None)
        )
    assert (again.status_code, again.json()["code"]) == (409, "number_taken")
    assert unnamed not in again.text


async def test_a_key_stands_for_one_opening_also_where_the_number_is_known(office: Office):
    first, second = office.complaint(), office.complaint()
    async with office.api("oa-sh01") as store:
        one = await store.post("/api/cases/complaint", json=first, headers={"Idempotency-Key": "one"})
        await store.post("/api/cases/complaint", json=second, headers={"Idempotency-Key": "two"})
        same = await store.post("/api/cases/complaint", json=first, headers={"Idempotency-Key": "one"})
        other = await store.post("/api/cases/complaint", json=second, headers={"Idempotency-Key": "one"})
    assert (same.status_code, same.json()["case"]) == (200, one.json()["case"])
    assert (other.status_code, other.json()["code"]) == (409, "key_reused")


async def test_a_task_is_not_given_to_whom_it_belongs(office: Office):
    case = await office.open()
    url = f"/api/cases/complaint/{case}/reassign"
    async with office.api("wang") as wang:
        theirs = await wang.post(url, json={"task": "reply", "person": "lin", "reason": "休假"})
        given = await wang.post(url, json={"task": "reply", "person": "chen", "reason": "休假"})
        back = await wang.post(url, json={"task": "reply", "person": "lin", "reason": "回来了"})
    assert (theirs.status_code, theirs.json()["code"]) == (409, "already_theirs")
    assert [given.status_code, back.status_code] == [200, 200]
    assert office.tasks(case)["reply"].owner == "lin"


async def test_a_task_is_named_as_the_screens_name_it(office: Office):
    case = await office.open()
    await office.hand_in(case, "solution", **office.SOLUTION)
    await office.hand_in(case, "consent", accepted=False)
    async with office.api("lin") as lin, office.api("wang") as wang:
        given = await wang.post(
            f"/api/cases/complaint/{case}/reassign", json={"task": "回复", "person": "chen", "reason": "休假"}
        )
        second = await lin.post(
            f"/api/cases/complaint/{case}/solution", json=FORMS["solution"] | {"task": "解决方案（2）"}
        )
    assert (given.status_code, second.status_code) == (200, 200), second.text
    assert office.tasks(case)["reply"].owner == "chen"
    assert office.tasks(case)["solution-2"].state == "done"


async def test_a_refusal_and_a_timeline_show_instants_in_the_calendars_zone(office: Office):
    case = await office.open()
    due = office.tasks(case)["reply"].due_at.astimezone(office.house.calendar)
    async with office.api("wang") as wang:
        url = f"/api/cases/complaint/{case}/extend"
        earlier = {"task": "reply", "due_at": (due - HOUR).isoformat(), "reason": "等检测"}
        refused = await wang.post(url, json=earlier)
        moved = await wang.post(url, json=earlier | {"due_at": (due + DAY).isoformat()})
    assert f"（{due:%Y-%m-%d %H:%M}）" in refused.json()["detail"]
    entry = next(event for event in moved.json()["timeline"] if event["kind"] == "moved")
    assert entry["data"]["due_at"] == (due + DAY).isoformat()
    assert entry["data"]["because"]["changes"][0]["due_before"] == due.isoformat()


async def test_a_timeline_says_who_acted_who_was_told_and_how_late_it_was(office: Office):
    case = await office.open(received_at=(office.now() - 27 * HOUR).isoformat())
    async with office.api("wang") as wang, office.api("lin") as lin:
        await lin.post(f"/api/cases/complaint/{case}/reply", json=FORMS["reply"])
        body = {"task": "solution", "person": "chen", "reason": "休假"}
        shown = (await wang.post(f"/api/cases/complaint/{case}/reassign", json=body)).json()["timeline"]
    by_kind = {event["kind"]: event for event in shown}
    assert "wang" in by_kind["escalated"]["told"]
    assert (by_kind["done"]["by"], by_kind["done"]["late"][:4]) == ("lin", "PT3H")
    assert (by_kind["told"]["by"], by_kind["told"]["told"]) == ("wang", ["chen"])
    assert by_kind["reassigned"]["content"]["reason"] == "休假"


async def test_a_list_says_how_much_is_left_out(office: Office):
    for _ in range(3):
        await office.open()
    async with office.api() as lin:
        first = (await lin.get("/api/tasks", params={"limit": 4})).json()
        last = (await lin.get("/api/tasks", params={"limit": 4, "cursor": first["cursor"]})).json()
        cases = (await lin.get("/api/cases", params={"limit": 2})).json()
    assert (first["more"], last["more"], cases["more"]) == (5, 1, 1)


async def test_the_reference_needs_no_other_host(closed_office: Office):
    async with closed_office.api(None) as anybody:
        page = await anybody.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    assert re.findall(r"(?:src|href)=[\"'](?!/)", page.text) == []
    assert "//" not in page.text.replace("<!doctype html>", "")
    for shown in ("/api/cases/complaint/{case}/callback", "满意度", "换货", "customer.phone"):
        assert shown in page.text


# When something fails


@pytest.mark.sqlite
async def test_a_full_disk_is_said_and_the_desk_is_not_healthy_until_it_can_write_again(closed_office: Office):
    office = closed_office
    with office.house.database.writer.connect() as ledger:
        pages = ledger.exec_driver_sql("PRAGMA page_count").scalar_one()
        ledger.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    async with office.api("oa-sh01") as store:
        assert (await store.get("/health")).status_code == 200
        for _ in range(50):
            answer = await store.post("/api/cases/complaint", json=office.complaint(content="满" * 8000))
            if answer.status_code != 202:
                break
        assert (answer.status_code, answer.json()["code"]) == (507, "full")
        assert "磁盘" in answer.json()["detail"]
        with office.house.database.writer.connect() as ledger:
            ledger.exec_driver_sql("PRAGMA max_page_count = 1000000")
        assert (await store.get("/health")).status_code == 200, "what changes nothing fitted"


@pytest.mark.sqlite
async def test_health_fails_while_the_ledger_cannot_be_written(closed_office: Office, monkeypatch):
    office, front = closed_office, closed_office.front
    monkeypatch.setattr(front, "_full", True)
    other = create_engine(office.house.database.url)
    async with office.api(None) as anybody:
        with other.connect() as blocking:
            blocking.exec_driver_sql("BEGIN IMMEDIATE")
            assert (await anybody.get("/health")).status_code == 503
        other.dispose()
        assert (await anybody.get("/health")).status_code == 200
    assert not front._full


async def test_what_is_committed_is_never_answered_as_a_failure(office: Office, monkeypatch: pytest.MonkeyPatch):
    def fails(*_: Any) -> Any:
        raise RuntimeError("after the commit")

    monkeypatch.setattr(office.docket, "receipt", fails)
    async with office.api("oa-sh01") as store:
        answer = await store.post("/api/cases/complaint", json=office.complaint())
    assert answer.status_code in (201, 202)
    assert office.case(answer.json()["case"]).state == "open"


async def test_who_hears_of_a_refusal_himself_has_no_notice_of_it(office: Office):
    case = await office.open()
    refused = await office.relay.send(lambda holder: office.commit(case, "record", holder=holder, finding="太早"))
    assert refused.state == "refused"
    assert office.heard(case, "lin") == ["new/None"]


async def test_who_was_told_to_wait_hears_of_the_refusal(office: Office):
    case = await office.open()
    sent = office.commit(case, "record", finding="太早")
    await office.relay.deliver(case)
    assert office.submission(sent.submission).state == "refused"
    assert office.heard(case, "lin") == ["new/None", "refused/None"]


async def test_what_is_committed_and_cannot_be_shown_is_answered_with_its_receipt(closed_office: Office, monkeypatch):
    async def fails(*_: Any) -> Any:
        raise RuntimeError("after the commit")

    monkeypatch.setattr(closed_office.front, "look", fails)
    async with closed_office.api("oa-sh01") as store:
        answer = await store.post("/api/cases/complaint", json=closed_office.complaint())
    assert answer.status_code == 202
    sent = closed_office.submission(answer.json()["submission"])
    assert (sent.case_id, answer.json()["submission_state"]) == (answer.json()["case"], "pending")


def all_are_waiting(many: int) -> bool:
    """Whether so many calls have got to where they wait for the ledger's writer, or for a thread to wait in."""
    threads: Any = asyncio.get_running_loop()._default_executor  # type: ignore[attr-defined]
    return threads is not None and threads._work_queue.qsize() + len(threads._threads) >= many


@pytest.mark.sqlite
async def test_a_locked_ledger_does_not_hold_up_who_only_reads(closed_office: Office):
    office = closed_office
    other = create_engine(office.house.database.url)
    async with office.api("oa-sh01") as store:
        with other.connect() as blocking:
            blocking.exec_driver_sql("BEGIN IMMEDIATE")
            writing = [
                asyncio.create_task(store.post("/api/cases/complaint", json=office.complaint())) for _ in range(60)
            ]
            await eventually(lambda: all_are_waiting(len(writing)), within=30)
            assert (await store.get("/api/cases")).status_code == 200
            assert not any(answer.done() for answer in writing), "they are still waiting"
        assert {answer.status_code for answer in await asyncio.gather(*writing)} <= {201, 202, 503}
    other.dispose()


async def test_a_failed_start_leaves_no_complaint_of_asyncio_behind(closed_office: Office):
    closed_office.relay.send_within = timedelta(seconds=0.5)
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    await closed_office.relay.deliver(closed_office.commit_opening().case)  # no worker: the engine does not answer
    gc.collect()
    assert complaints == []


def test_one_case_that_is_stuck_does_not_count_as_an_engine_that_is_away():
    breaker = Breaker()
    for _ in range(10):
        breaker.note("stuck", answered=False)
    assert breaker.lets_through()
    breaker.note("another", answered=False)
    breaker.note("a third", answered=False)
    assert not breaker.lets_through()
    breaker.note("another", answered=True)
    assert breaker.lets_through()

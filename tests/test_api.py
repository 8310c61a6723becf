"""The HTTP door: what it takes, what it answers, and that it says which field and why."""

import asyncio
import base64
import json
from time import monotonic
from typing import Any

import pytest
from sqlmodel import select
from temporalio.client import Client

from activities.payloads import data_converter
from models.tables import CaseRow, SubmissionRow
from starter.api import BODY_LIMIT
from starter.relay import ANSWER_WITHIN, SEND_WITHIN
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
        assert {task["task"]: task["possible"] for task in opened.json()["tasks"]} == {
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


async def test_other_facts_under_the_same_number_are_a_conflict(office: Office):
    form = office.complaint()
    async with office.api("oa-sh01") as store:
        await store.post("/api/cases/complaint", json=form)
        other = await store.post("/api/cases/complaint", json=form | {"content": "另一件事"})
    assert (other.status_code, other.json()["code"]) == (409, "number_taken")


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
        assert took[-1] < ANSWER_WITHIN / 2, "known to be away, it is not waited for"


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
        ({"customer": {"phone": "1", "age": 3}}, "customer.age", "extra_forbidden"),
        ({"goods": {"price": "-1"}}, "goods.price", "greater_than_equal"),
        ({"at": "2026-11-22T10:00:00Z"}, "at", "extra_forbidden"),
        ({"origin": "store"}, "origin", "store_complaint_not_yet"),
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
        assert (await lin.get("/api/cases", params={"state": "archived"})).json() == {"items": [], "cursor": None}


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

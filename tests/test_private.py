"""Private by construction: what people write is whole in the ledger's sealed columns, and nowhere else (design: private by default)."""

import base64
import json
from typing import Any, Literal, get_args, get_origin

import pytest
from cryptography.exceptions import InvalidTag
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from temporalio.api.enums.v1 import EventType

from activities.keys import COLUMN, KeyRing, UnknownKey
from activities.payloads import data_converter
from models.complaint.facts import Complaint
from models.complaint.forms import Solution
from models.forms import HIDDEN, LEDGER, Private
from models.tables import ArchiveRow, SubmissionRow
from tests.conftest import KEYS
from tests.office import Office
from workflows import PROCESSES

SECRETS = ("张小红", "13800000001", "跑绒")


def everything_people_type() -> list[type[Private]]:
    found: list[type[Private]] = []

    def visit(model: Any) -> None:
        if isinstance(model, type) and issubclass(model, BaseModel) and model not in found:
            found.append(model)
            for field in model.model_fields.values():
                visit(field.annotation)
        for part in get_args(model):
            visit(part)

    for process in PROCESSES.values():
        for model in (process.case, *process.submittable.values()):
            visit(model)
    return found


def bare_strings(annotation: Any, metadata: list[Any]) -> bool:
    """Whether a plain `str` hides in a type: one that is neither a text, nor a code, nor a choice."""
    if annotation is str:
        return not metadata
    if get_origin(annotation) is Literal:
        return False
    if hasattr(annotation, "__metadata__"):
        return bare_strings(annotation.__origin__, [*metadata, *annotation.__metadata__])
    return any(bare_strings(part, []) for part in get_args(annotation))


@pytest.mark.parametrize("model", everything_people_type(), ids=lambda model: model.__name__)
def test_no_field_is_a_plain_string(model: type[Private]):
    assert issubclass(model, Private)
    plain = [name for name, field in model.model_fields.items() if bare_strings(field.annotation, field.metadata)]
    assert plain == [], "make it a Text (private) or a Code (decides, sorts or finds)"


def test_a_plain_string_would_be_found():
    field = FieldInfo.from_annotation(str | None)
    assert bare_strings(field.annotation, field.metadata)


def test_a_text_is_written_in_full_only_where_the_ledger_asks_for_it():
    solution = Solution(steps="换一件", effect="满意", remedy="exchange")
    assert solution.model_dump(context=LEDGER)["steps"] == "换一件"
    assert solution.model_dump()["steps"] == HIDDEN
    assert json.loads(solution.model_dump_json())["effect"] == HIDDEN
    assert "换一件" not in repr(solution) + str(solution)


def test_a_hidden_form_is_still_a_valid_form(closed_office: Office):
    facts = Complaint.model_validate(closed_office.complaint())
    hidden = Complaint.model_validate(facts.model_dump(mode="json"))
    assert hidden.customer.phone == HIDDEN
    assert (hidden.form_no, hidden.received_at) == (facts.form_no, facts.received_at)


async def test_a_form_handed_to_the_engine_undumped_does_not_leak(keys: KeyRing):
    converter = data_converter(keys).payload_converter
    [payload] = converter.to_payloads([Solution(steps="换一件", effect="满意", remedy="exchange")])
    assert "换一件" not in payload.data.decode()


async def test_every_payload_is_encrypted_and_names_its_key(office: Office):
    case = await office.open()
    await office.walk(case)
    history = await office.client.get_workflow_handle(case).fetch_history()
    raw = history.to_json()
    assert "kefu" in base64.b64decode(first_encoding(raw)).decode()
    for secret in (*SECRETS, "SH01", "exchange"):
        assert secret not in raw
        assert base64.b64encode(secret.encode()).decode()[:12] not in raw


def first_encoding(raw: str) -> str:
    start = json.loads(raw)["events"][0]["workflowExecutionStartedEventAttributes"]
    metadata: dict[str, str] = start["input"]["payloads"][0]["metadata"]
    assert base64.b64decode(metadata["key"]) == b"test"
    return metadata["encoding"]


async def test_failures_are_encrypted_too(keys: KeyRing):
    from temporalio.api.failure.v1 import Failure

    failure = Failure()
    await data_converter(keys).encode_failure(RuntimeError("顾客张小红说"), failure)
    assert "张小红" not in str(failure)
    assert failure.message == "Encoded failure"


@pytest.mark.sqlite
async def test_the_ledger_file_and_its_log_hold_no_name_number_or_text(office: Office):
    case = await office.open()
    await office.walk(case)
    files = list(office.house.settings.data.glob("ledger.db*"))
    assert len(files) >= 2
    for file in files:
        content = file.read_bytes()
        assert [secret for secret in (*SECRETS, "新衣已寄出", "充绒工艺不良") if secret.encode() in content] == []


async def test_the_archive_holds_the_whole_case_for_who_has_the_key(office: Office):
    case = await office.open()
    await office.walk(case)
    [row] = office.rows(ArchiveRow, case)
    document = json.loads(office.house.keys.open(row.sealed, COLUMN, f"archive/{case}"))
    assert document["submissions"][0]["content"]["customer"]["name"] == "张小红"
    assert [task["key"] for task in document["tasks"]] == [
        "reply",
        "completion",
        "solution",
        "callback",
        "consent",
        "execution",
        "record",
    ]
    assert document["case"]["state"] == "archived"
    assert document["events"][-1]["kind"] == "archived"


async def test_a_sealed_column_does_not_open_in_another_row(office: Office):
    case = await office.open()
    [row] = office.rows(SubmissionRow, case)
    with pytest.raises(InvalidTag):
        office.house.keys.open(row.sealed, COLUMN, "submission/another")


def test_several_keys_read_and_the_first_one_writes():
    fresh = "new:" + base64.b64encode(b"n" * 32).decode()
    old, both, new = KeyRing(KEYS), KeyRing(f"{fresh},{KEYS}"), KeyRing(fresh)
    sealed = old.seal(b"secret", COLUMN, "here")
    assert both.open(sealed, COLUMN, "here") == b"secret"
    assert new.open(both.seal(b"secret", COLUMN, "here"), COLUMN, "here") == b"secret"
    assert both.matches(old.digest(b"body"), b"body")
    with pytest.raises(UnknownKey, match="'test'"):
        new.open(sealed, COLUMN, "here")


def test_a_key_file_is_made_once_and_only_its_owner_reads_it(tmp_path):
    file = tmp_path / "var" / "keys"
    ring = KeyRing.from_file(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert KeyRing.from_file(file).open(ring.seal(b"x", COLUMN, "y"), COLUMN, "y") == b"x"


@pytest.mark.parametrize("bad", ["", "k1", "k1:short", "k1:!!!!", "k1:" + base64.b64encode(b"short").decode()])
def test_a_key_that_is_none_is_refused(bad: str):
    with pytest.raises(ValueError, match="KEFU_KEYS"):
        KeyRing(bad)


async def test_no_history_event_carries_memo_or_search_attributes(office: Office):
    case = await office.open()
    history = await office.client.get_workflow_handle(case).fetch_history()
    started = history.events[0]
    assert started.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
    assert not started.workflow_execution_started_event_attributes.memo.fields
    assert not started.workflow_execution_started_event_attributes.search_attributes.indexed_fields

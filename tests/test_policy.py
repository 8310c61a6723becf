"""The policy: every number of the handbook in one file, and no task without one."""

import re
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from models import policy
from models.complaint import COMPLAINT
from models.tasks import Process
from models.words import say
from workflows import PROCESSES

every_process = pytest.mark.parametrize("process", PROCESSES.values(), ids=list(PROCESSES))


@every_process
def test_every_task_has_a_promise(process: Process):
    promised = set(process.promises.model_fields)
    assert {form.form for form in process.forms} <= promised


@every_process
def test_every_promise_is_in_the_policy_with_its_basis(process: Process):
    written = tomllib.loads(policy.SHIPPED.read_text())[process.name]["promises"]
    promises = list(policy.each(policy.promises(process)))
    assert {promise.name for promise in promises} == set(written), "what a default says holds for older cases only"
    assert [promise.name for promise in promises if not promise.basis] == []


NOT_LATE_BY_PEOPLE = {"completion", "review", "call", "settled", "visits"}
"""A review's clock is that of the list it is on, a call's that of its region."""
ASKED_ABOVE = {"decision", "sign_off"}
ASKED_ELSEWHERE = {"assist", "opinion", "supplement", "plan"}


@every_process
def test_late_work_reaches_the_manager_at_its_due_time_and_the_director_a_day_later(process: Process):
    for promise in policy.each(policy.promises(process)):
        after = [(rung.after, rung.tell) for rung in promise.ladder if not rung.is_reminder]
        if promise.name in NOT_LATE_BY_PEOPLE:
            assert after == []
        elif promise.name in ASKED_ABOVE:
            assert after == [(timedelta(0), "director")]
        elif promise.name in ASKED_ELSEWHERE:
            assert after[-1][1] == "manager", promise.name
        elif process.name == "canary":
            assert after == [(timedelta(0), "system")], "nobody's work, and nobody hears"
        else:
            assert after == [(timedelta(0), "manager"), (timedelta(hours=24), "director")], promise.name


@every_process
def test_every_form_and_every_refusal_has_its_words(process: Process):
    for name in process.submittable:
        assert say("form", name) != name


def test_a_rung_may_say_itself_how_long_it_waits_for_an_acknowledgement(tmp_path: Path):
    file = tmp_path / "policy.toml"
    shipped = policy.SHIPPED.read_text("utf-8")
    file.write_text(shipped.replace('["PT0H", "manager"]', '["PT0H", "manager", "PT30M"]', 1), encoding="utf-8")
    first, second = (list(policy.each(policy.promises(COMPLAINT, file)))[nth].ladder for nth in (0, 1))
    assert [rung.acknowledge for rung in first] == [None, timedelta(minutes=30), timedelta(hours=4)]
    assert [rung.acknowledge for rung in second] == [None, timedelta(hours=4), timedelta(hours=4)]


def test_a_file_that_is_silent_of_a_process_leaves_it_as_it_is_shipped(tmp_path: Path):
    """A release may bring a process; a file of one's own, written before, holds for those it names."""
    file = tmp_path / "policy.toml"
    file.write_text(policy.SHIPPED.read_text().partition("[expiry.intake]")[0])
    assert policy.promises(PROCESSES["expiry"], file) == policy.promises(PROCESSES["expiry"])
    policy.check(PROCESSES.values(), file)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('ladder = [["PT0H", "manager"], ["-PT4H", "owner"]]', "must climb"),
        ('ladder = [["-PT4H", "owner"]]', "somebody must hear"),
        ('ladder = [["PT0H", "nobody"]]', "reply"),
        ('within = "PT0H"', "greater than 0"),
        ('within = "soon"', "duration"),
    ],
)
def test_a_number_that_cannot_hold_is_refused_by_name(tmp_path: Path, line: str, reason: str):
    key = line.split(" ")[0]
    section = "[complaint.promises.reply]"
    before, after = policy.SHIPPED.read_text().split(section)
    file = tmp_path / "policy.toml"
    file.write_text(before + section + re.sub(rf"(?m)^{key} = .*$", line, after, count=1))
    with pytest.raises(ValidationError, match=reason):
        policy.promises(COMPLAINT, file)


@pytest.mark.parametrize("by", ["day 28 12:00", "day 29 12:00"])
def test_a_consolidation_that_is_due_before_the_stores_plans_is_refused_at_start(tmp_path: Path, by: str):
    """5.1 E2: also where only the February of a common year breaks the order."""
    section = "[visit_month.promises.consolidation]"
    before, after = policy.SHIPPED.read_text("utf-8").split(section)
    file = tmp_path / "policy.toml"
    file.write_text(before + section + re.sub(r'(?m)^by = ".*?"', f'by = "{by}"', after, count=1), encoding="utf-8")
    with pytest.raises(ValueError, match="must be due after"):
        policy.check(PROCESSES.values(), file)


def test_the_codes_a_desk_refuses_with_are_in_the_catalogue():
    sources = [*Path("workflows").glob("*.py"), *Path("starter").rglob("*.py")]
    codes = {
        code
        for source in sources
        for code in re.findall(
            r'(?:Refusal\(code=|Conflict\(|NotFound\(|Forbidden\(|Unauthenticated\(|Busy\()"(\w+)"', source.read_text()
        )
    }
    assert len(codes) > 10
    assert [code for code in codes if say("refusal", code) == code] == []


def test_the_codes_a_field_is_refused_with_are_in_the_catalogue():
    sources = [*Path("models").glob("*.py"), *Path("starter").glob("*.py")]
    pattern = r'(?:FieldError\([^)]*code=|PydanticCustomError\()"(\w+)"'
    codes = {code for source in sources for code in re.findall(pattern, source.read_text())}
    assert len(codes) > 4
    nameless = [code for code in codes if say("field", code) == say("field", "other")]
    assert [code for code in nameless if say("import", code) == code] == []

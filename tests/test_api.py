"""The HTTP door: what it takes, what it says, and that it says why not."""

from tests.office import Office


async def test_a_complaint_goes_from_submission_to_archive_over_http(office: Office):
    async with office.api("oa-sh01") as store, office.api("lin") as lin:
        opened = await store.post("/api/cases/complaint", json=office.complaint())
        assert opened.status_code == 201, opened.text
        case = opened.json()["case"]
        assert {task["task"]: task["possible"] for task in opened.json()["tasks"]} == {
            "reply": True,
            "solution": True,
            "callback": False,
        }
        for form, body in {
            "reply": {"content": "已致歉"},
            "solution": office.SOLUTION,
            "consent": {"accepted": True},
            "execution": {"content": "新衣已寄出"},
            "callback": {"outcome": "satisfied", "satisfaction": 5},
            "record": {"finding": "充绒工艺不良"},
        }.items():
            answer = await lin.post(f"/api/cases/complaint/{case}/{form}", json=body)
            assert answer.status_code == 200, answer.text
        assert answer.json()["state"] == "archived"

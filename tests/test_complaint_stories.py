from tests.office import Office


async def test_a_complaint_handled_in_time_goes_to_the_archive(office: Office):
    case = await office.open()
    assert office.open_tasks(case) == {"reply", "solution", "callback"}
    await office.walk(case)
    assert office.case(case).state == "archived"
    assert office.case(case).closed_because == "completed"
    assert office.heard(case, "wang") == []

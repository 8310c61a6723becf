"""The README's pictures of a complaint's states are what the running desk does."""

from tests.office import Office
from tests.picture import pictures
from tests.test_readme import README, blocks


async def test_the_pictures_are_those_of_the_desk_and_small_enough_to_read(office: Office):
    shown = blocks(README.split("<!-- states -->\n")[1].split("<!-- /states -->")[0], "mermaid")
    found = await pictures(office)
    assert shown == [f"{picture}\n" for picture in found], "put the new pictures into the README:\n" + "\n".join(found)
    assert max(picture.count("-->") for picture in found) <= 28

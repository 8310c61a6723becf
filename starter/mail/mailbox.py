"""The complaint mailbox."""

from settings import House


def mailbox_name(house: House) -> str | None:
    """How the ledger calls the complaint mailbox; None where there is none."""
    url = house.settings.mailbox
    return house.keys.index(f"mailbox/{url.get_secret_value()}".encode()) if url else None

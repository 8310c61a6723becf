"""Letters: the complaint mailbox, and what goes back to those who wrote."""

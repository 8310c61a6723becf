"""Expiring members (handbook 4.2): their list, what becomes of them by what they buy, the words to say to them."""

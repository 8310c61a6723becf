"""Planned visits (handbook 6.3): plans and their lines, the calls, the month at headquarters, the callback file of 3.4."""

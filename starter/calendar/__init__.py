"""The calendar: what opens by itself, who sees to it, and how it is opened once."""

"""The member system's door (handbook 4.1): webhook, files and pull; the audit by rule; the lists of the day."""

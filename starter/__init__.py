"""How cases begin and people act: the only code that holds a Temporal client."""

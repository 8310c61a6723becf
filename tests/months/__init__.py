"""Real purchases through every month of the expiry: the product in virtual time, beside a reference in plain SQL that shares no code with it."""

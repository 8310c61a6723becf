"""The case library (handbook 3.4): what was learnt from cases, in the clear to be searched, and with nothing of a customer in it."""

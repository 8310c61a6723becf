"""The fire: the real product under a seeded storm of deaths, and a reference that knows nothing of its code to say what should have been."""

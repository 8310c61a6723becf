"""Those who do not trust the engine: what should have happened and has not."""

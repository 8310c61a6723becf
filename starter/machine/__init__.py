"""Everything on one machine: the engine, and what keeps its parts alive."""

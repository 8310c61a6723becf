"""Everything that touches the outside world: the ledger, its keys, the people."""

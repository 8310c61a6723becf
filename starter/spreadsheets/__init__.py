"""Cases from the tables that departments have, and empty tables to fill in."""

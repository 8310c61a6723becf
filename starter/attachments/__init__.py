"""Photos, films and papers of a case: taken in, cleaned, sealed, given out."""

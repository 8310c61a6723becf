"""What the department prints and files: the record form of a case, the register of a period."""

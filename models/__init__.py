"""What the department talks about: data only, no clock, no I/O beyond the files shipped beside these modules."""

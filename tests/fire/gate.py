"""A program that starts once nobody holds its gate: `gate.py LOCK PROGRAM …`. Run as a script, without our code."""

import fcntl
import os
import sys

if __name__ == "__main__":
    with open(sys.argv[1], "rb") as gate:
        fcntl.flock(gate, fcntl.LOCK_SH)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 — the program of a part, as its supervisor has it

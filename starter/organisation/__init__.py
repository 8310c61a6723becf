"""The organisation as data (handbook 1.2): read from a file, changed through a door, every version kept."""

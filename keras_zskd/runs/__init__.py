"""One run of a method: its directory, its record, and how it goes on after an interruption."""

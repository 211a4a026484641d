"""Jobs: one function for each command."""

"""Runs of methods: the run directory, its record, and resuming after an interruption."""

"""Faster execution of networks with the same results: see `lowered.Lowered`."""

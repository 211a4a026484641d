"""Slow runs: they write their results as they go, and go on where they stopped."""

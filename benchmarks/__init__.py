"""Slow measurements, which save each result at once and resume where they stopped."""

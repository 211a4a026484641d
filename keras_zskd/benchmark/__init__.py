"""The benchmark: suites of methods on one teacher, at an equal budget, and their tables."""

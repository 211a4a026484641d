"""Synthesis of inputs from a teacher alone."""

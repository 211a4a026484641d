"""Synthesis of training inputs from a teacher, without data."""

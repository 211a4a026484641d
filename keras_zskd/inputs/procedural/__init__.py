"""Inputs drawn by formula: no data, no teacher, no gradient."""

"""Anything that yields training inputs."""

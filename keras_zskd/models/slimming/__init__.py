"""Narrower copies of networks, with channels chosen by rules per layer."""

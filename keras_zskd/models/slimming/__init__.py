"""A narrower copy of any network, its channels chosen by rules."""

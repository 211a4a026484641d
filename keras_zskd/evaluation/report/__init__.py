"""Report and model card of a run."""

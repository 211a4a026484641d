"""Networks run faster than layer by layer, with the same numbers: see `lowered.Lowered`."""

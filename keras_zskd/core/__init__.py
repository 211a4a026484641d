"""What knows nothing of the rest: errors, configurations, randomness, what commands print."""

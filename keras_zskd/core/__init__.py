"""Basic tools that import no other part of the package: errors, randomness, printed output."""

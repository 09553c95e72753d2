"""What all benchmarks share: their arguments, where figures come from, and how they are kept."""

"""A real replica for benchmarks of measurements and trials: its model, its start, and requests to it."""

"""A real replica to measure, for benchmarks of measuring and of trials: its model, how it is started, the way to it."""

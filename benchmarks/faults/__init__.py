"""Benchmarks of the faults that a study survives, and of what it leaves behind."""

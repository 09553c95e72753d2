"""Benchmarks of searchers: searches replayed on measured tables, their predictions, and the time that they take."""

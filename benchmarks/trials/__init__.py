"""Benchmarks of whole trials on real replicas: their overhead beside the measurement, and what a study finds."""

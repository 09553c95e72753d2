"""Benchmarks on a GPU: whether limits hold, and what each part of the speed path gains."""

"""Shared by all benchmarks: common arguments, the origin of figures, and files of results."""

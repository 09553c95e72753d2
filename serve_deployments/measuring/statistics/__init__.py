"""Intervals, whether a limit is kept, and where the rate breaks it."""

"""Searchers that learn from services studied before, for comparison with `meta`."""

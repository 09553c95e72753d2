"""Searchers judged on measured tables."""

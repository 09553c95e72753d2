"""Searchers from the literature and other libraries, for comparison; only `searchers.registry` refers to them."""

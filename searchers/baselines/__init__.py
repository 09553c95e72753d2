"""Searchers from the literature and other libraries, for comparison; the packages reach them by the registry only."""

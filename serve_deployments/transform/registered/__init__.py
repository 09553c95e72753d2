"""Models that are registered: their graph, and their weights in files that can be mapped."""

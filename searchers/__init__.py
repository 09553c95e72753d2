"""Spaces, objectives and the searchers that choose the next configuration; only `searchers.ray_tune` uses Ray."""

"""Which configuration next? Spaces, objectives and searchers; only `searchers.ray_tune` knows Ray."""

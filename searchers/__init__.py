"""Which configuration next? Spaces, objectives and searchers; only `searchers.ray_tune.tune_searcher` knows Ray."""

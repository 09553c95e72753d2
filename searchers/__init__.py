"""Which configuration next? Spaces, objectives and searchers; only `searchers.tune` knows Ray."""

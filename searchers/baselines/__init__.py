"""Searchers of others, which ours is compared with; nothing but `searchers.registry` needs them."""

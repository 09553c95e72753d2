"""The searchers inside Ray Tune: the one place of this package that knows Ray."""

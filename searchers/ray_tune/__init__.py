"""Use of the searchers in Ray Tune; the only part of this package that depends on Ray."""

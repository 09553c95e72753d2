"""A model that runs: built, called, changed and closed in a thread of its own; whatever it raises is contained."""

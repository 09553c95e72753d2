"""Meta-models that ship with the project."""

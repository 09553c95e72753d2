"""Trained models that ship with the package, and the format of their files."""

"""Measures on this machine what the parts of a conversion cost."""

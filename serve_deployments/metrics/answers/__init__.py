"""Comparison of a configuration's answers with those of a reference: what the same requests were answered with."""

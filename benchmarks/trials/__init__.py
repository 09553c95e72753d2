"""Whole trials on real replicas: what one costs beside its measuring, and what a study finds."""

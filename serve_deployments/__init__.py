"""Runs a model under a configuration on Ray Serve and measures the rate that it can serve."""

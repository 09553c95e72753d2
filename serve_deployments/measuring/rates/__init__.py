"""Searches for the rate that a replica can do: level after level until it is known well enough."""

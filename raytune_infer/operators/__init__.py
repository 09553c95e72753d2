"""Operators of a service's model: its profile, its resource curves, and what these predict for each configuration."""

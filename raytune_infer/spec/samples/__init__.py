"""Samples of a service: how they are read, and in which order they are sent."""

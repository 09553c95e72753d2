"""Measured tables of our own: twelve models over batch size, cores or share of a GPU, and precision."""

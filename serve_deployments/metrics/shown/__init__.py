"""Figures of a running study for monitoring systems, and the gauges of Ray that show them."""

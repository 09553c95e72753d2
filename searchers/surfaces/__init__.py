"""Shipped surfaces: an auto-decoder of what services look like, and the belief it gives."""

"""Batches of a replica: formed from waiting requests, answered request by request, and run before any load."""

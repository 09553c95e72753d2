"""Predictions for rates that were not measured: a simulated queue of the replica's batches, and interpolation."""

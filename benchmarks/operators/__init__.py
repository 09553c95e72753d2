"""Operators of models: what is predicted from their curves against whole batches in a bare loop."""

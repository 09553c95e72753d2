"""What other levels would give: a simulated queue of the replica's own batches."""

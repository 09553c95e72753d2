"""An engine for language models with transformers: it batches for itself and streams, and needs nothing else."""

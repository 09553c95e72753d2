"""Models that answer batches, found by name: loaders, exported programs and the stacking of payloads into batches."""

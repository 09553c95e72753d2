"""A replica's part of a GPU: memory and multiprocessors, enforced, asked of the device, and said where not."""

"""What a replica runs on: cores, GPU memory and GPU share enforced, and said where not."""

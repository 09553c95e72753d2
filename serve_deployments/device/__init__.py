"""What a replica runs on: cores, GPU memory and GPU share enforced; batches moved to a GPU and back."""

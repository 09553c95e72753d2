"""What holds and what pays on a GPU."""

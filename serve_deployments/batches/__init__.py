"""Running batches, from payloads to results: directly on a CPU, with pinned buffers and CUDA graphs on a GPU."""

"""From payloads to tensors to results, on a CPU as they are, on a GPU with pinned buffers and CUDA graphs."""

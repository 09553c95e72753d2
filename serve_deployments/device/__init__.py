"""The resources of a replica: limits on cores, GPU memory and GPU share are enforced, or reported as not enforced."""

"""Replicas, backends and GPUs without Ray and in virtual time, shipped beside the real ones."""

"""Fake replicas, backends and accelerators, without Ray or a GPU and in virtual time, shipped with the real ones."""

"""Morphling (SoCC 2021): a meta-model trained by MAML and adapted to a service by a few measurements."""

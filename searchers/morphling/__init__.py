"""Morphling (SoCC 2021): a meta-model trained by MAML and adapted to a service with a few measurements."""

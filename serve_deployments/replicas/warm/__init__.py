"""Replicas that outlive a trial: a pool of live ones, taken from it and changed in place."""

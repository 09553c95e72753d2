"""A trace replayed: requests for many models on few replicas, in simulated time and under several policies."""

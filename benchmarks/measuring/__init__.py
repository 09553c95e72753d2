"""Benchmarks of measurements, their accuracy and duration: on simulated servers, real replicas, against other tools."""

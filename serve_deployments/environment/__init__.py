"""Environment variables of replicas and load generators: what Serve needs, secrets, and those that load code."""

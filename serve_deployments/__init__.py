"""Run a model under a configuration on Ray Serve and find out what it can do."""

"""Load tests in a Ray cluster: the actor that runs a test, and the processes that send its load."""

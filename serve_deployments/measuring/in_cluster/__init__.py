"""The load test in the cluster: an actor that runs it, and the processes that send for it."""

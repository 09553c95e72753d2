"""Load tests: find the rate that a replica can serve, with levels of load held until the result is certain enough."""

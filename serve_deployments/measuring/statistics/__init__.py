"""Statistics of load tests: confidence intervals, tests of limits, and the posterior of the highest rate."""

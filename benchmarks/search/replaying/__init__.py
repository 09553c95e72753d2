"""What benchmarks that replay searches share: arguments, conditions, processes, what was found, drawings."""

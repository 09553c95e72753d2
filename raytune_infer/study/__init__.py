"""A study: the search, its trials, the comparison at the end, and the result."""

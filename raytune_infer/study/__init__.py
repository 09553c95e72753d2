"""A study: the search, its trials, the final comparison, and the result."""

"""The default searcher: surfaces of what services look like, other services' studies and measurements, weighed."""

"""service.yaml as a checked object: knobs, samples, arrivals, limits; every error names file, line and remedy."""

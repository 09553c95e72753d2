"""service.yaml as a validated object: knobs, samples, arrivals, limits; every error names file, line and remedy."""

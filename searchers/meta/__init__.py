"""The default searcher: a weighted mixture of priors from shipped surfaces, earlier services and the knobs alone."""

"""The best few configurations against the default at the end of a study: interleaved rounds, intervals, a verdict."""

"""The final comparison of a study: its best few configurations and the default, measured in interleaved rounds."""

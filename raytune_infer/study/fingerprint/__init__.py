"""The fingerprint of a study, which a run that is resumed must still have: its settings, and the files it runs."""

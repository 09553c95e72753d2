"""One live model becomes another one: every way measured against the others."""

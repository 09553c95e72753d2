"""Storage of studies, trials and levels in a database, and of a run's folder; only this package serialises them."""

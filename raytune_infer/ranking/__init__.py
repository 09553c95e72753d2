"""Ranking of a run's measurements under other limits, goals and prices, without a new trial."""

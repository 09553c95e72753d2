"""Evaluation of searchers on suites of measured tables."""

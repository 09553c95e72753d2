"""Requests sent on schedule, by one sender or several, and what came of each."""

"""Answers of a study: the reference that the default gives, and the check of every trial against it."""

"""Requests to language models: from conversations, from traces of lengths, and drawn from distributions."""

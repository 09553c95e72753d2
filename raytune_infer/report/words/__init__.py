"""Sentences shown beside the numbers; they contain no ranking rules and no markup."""

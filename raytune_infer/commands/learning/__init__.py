"""Commands on searchers themselves: judging them on measured tables, and training what they start from."""

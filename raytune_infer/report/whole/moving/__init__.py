"""How far the numbers of the question can move before the answer changes."""

"""How good searchers are: replays of measured tables, what they believe, how long they take."""

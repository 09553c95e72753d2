"""`replay`: searchers judged on measured tables."""

"""How a study comes to a Ray cluster: what is refused beforehand, what workers are given, joining or starting it."""

"""How fast a live model becomes another one, and what that gains where few replicas serve many models."""

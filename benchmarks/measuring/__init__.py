"""How right and how quick measurements are: servers whose truth is known, real replicas, other load generators."""

"""Resource curves: how the time of an operator moves with batch, cores, precision and the part of a GPU it has."""

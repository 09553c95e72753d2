"""The twelve models, in plain torch with random weights."""

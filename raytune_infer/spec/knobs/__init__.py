"""The knobs of a service.yaml, and the conditions on them."""

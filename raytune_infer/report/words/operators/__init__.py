"""Views of a model's operators: their profile, the roofline with them in it, and their resource curves."""

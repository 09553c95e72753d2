"""What a model is made of: operations with their attributes and tensors, and how they are connected."""

"""Surface model: an auto-decoder trained on many services, from which priors for new services are made."""

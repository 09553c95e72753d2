"""Many models on few replicas: which replica serves a request, becomes another model, or is started."""

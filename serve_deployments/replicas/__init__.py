"""Serve replicas with a configuration: deployed, kept warm, changed in place, taken down."""

"""Ray Serve replicas that run under a configuration: deployed, kept warm, changed in place, taken down."""

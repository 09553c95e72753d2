"""Names of GPUs as people, NVML and Ray write them, among them those of MIG instances."""

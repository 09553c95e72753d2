"""Goals and limits of service.yaml: what may be asked for, and whether it can be measured and reached."""

"""A running study for those who watch the cluster: its figures as Ray's gauges, and a Grafana dashboard of them."""

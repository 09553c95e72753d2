"""Records of requests, results of load levels and of whole load tests, and the metrics computed from them."""

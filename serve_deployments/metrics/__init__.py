"""What is known of a request, of a level of load and of a whole load test, and the metrics that follow from it."""

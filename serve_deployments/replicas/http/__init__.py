"""HTTP requests to a replica: bodies to payloads of the type that the trials had, results to answers."""

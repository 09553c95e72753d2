"""Arrivals of requests for many models: Poisson, or recorded, from the published traces of Azure Functions."""

"""Renderer of views as one HTML file that needs nothing else: tables, charts, and the page around them."""

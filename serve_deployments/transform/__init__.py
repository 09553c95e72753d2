"""A live model becomes another one: graphs of models, plans with prices, and conversions that equal a fresh load.

Optimus (EuroSys 2024) with what is left of its gain in today's PyTorch; docs/transform.md has the equations.
"""

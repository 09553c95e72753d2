"""What machines there are, what they can do and what they cost.

Knows nothing of services, searchers or trials: it answers "which GPU is that", "what does an hour cost",
"does it fit on a node" and, without any GPU at all, "how fast would it be" (`roofline`, `emulated`).
"""

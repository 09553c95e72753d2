"""The machines of a cluster: which there are, what they can do and what they cost.

Independent of services, searchers and trials: it answers "which GPU is that", "what does an hour cost",
"does it fit on a node" and, without any GPU at all, "how fast would it be" (`roofline`, `emulated`).
"""

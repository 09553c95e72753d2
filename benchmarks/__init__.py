"""Benchmarks of the searchers, the measurements and the replicas; each figure is recorded with its command.

`python -m benchmarks` lists them, `python -m benchmarks NAME --help` shows the options of one. Each folder is about one
thing that is measured; `recording/` and `replica/` hold what several benchmarks share.
"""

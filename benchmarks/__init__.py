"""Benchmarks: how good the searchers, the measurements and the replicas are, each figure with its command.

`python -m benchmarks` lists them, `python -m benchmarks NAME --help` says what one can be asked. A folder for each
thing that is measured; `recording/` and `replica/` hold what several of them share.
"""

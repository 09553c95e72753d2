"""A model of one's own, in a file beside its service.yaml."""

from collections.abc import Callable, Sequence


def build(factor: int = 2) -> Callable[[Sequence[int]], list[int]]:
    return lambda payloads: [factor * payload for payload in payloads]

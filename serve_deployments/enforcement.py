"""The record of whether a limit is enforced: how, or why not."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Enforcement:
    """Whether and how one limit is enforced.

    Args:
        limit: name of the limit ("cpu_cores", "gpu_memory", …).
        asked: the value asked for.
        enforced: whether the replica is unable to exceed it.
        how: means of enforcement, or the reason why it is not enforced.
    """

    limit: str
    asked: str
    enforced: bool
    how: str

"""What became of a limit: enforced and how, or not enforced and why."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Enforcement:
    """What became of one limit.

    Args:
        limit: which ("cpu_cores", "gpu_memory", …).
        asked: the value asked for.
        enforced: whether the replica cannot exceed it.
        how: by what means, or why not.
    """

    limit: str
    asked: str
    enforced: bool
    how: str

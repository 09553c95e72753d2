"""The record of whether a limit is enforced: how, or why not."""

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Enforcement:
    """Whether and how one limit is enforced.

    Args:
        limit: name of the limit ("cpu_cores", "gpu_memory", …).
        asked: the value asked for.
        enforced: whether the replica is unable to exceed it.
        how: means of enforcement, or the reason why it is not enforced.
        given: the value that there is, as far as the device tells; None where it does not, or is the one asked for.
    """

    limit: str
    asked: str
    enforced: bool
    how: str
    given: str | None = None


def corrected(limits: Sequence[Enforcement], of_model: Sequence[Enforcement]) -> tuple[Enforcement, ...]:
    """All records; where a model says that a limit does not hold for it, that counts.

    Args:
        limits: records of the limits of the process.
        of_model: the model's own records; those of a limit that the process has have no `asked`.
    """
    own = {each.limit: each for each in of_model}
    names = {each.limit for each in limits}
    held = [
        replace(own[each.limit], asked=each.asked) if each.enforced and each.limit in own else each for each in limits
    ]
    return (*held, *(each for each in of_model if each.limit not in names))

"""What conditions of a service.yaml leave, and those that rule nothing out, for whoever wrote them."""

from __future__ import annotations

import math

from raytune_infer.counted import counted
from raytune_infer.spec.document import dotted
from raytune_infer.spec.knobs.knob_space import MOST_CONFIGURATIONS, Where, conditions, encoded, space_of, whens
from raytune_infer.spec.knobs.knob_spec import Knobs
from searchers.space import Condition, Knob
from searchers.space.rows import NothingAllowed, TooMany, allowed_rows, deciding


def condition_notes(knobs: Knobs, where: Where) -> tuple[str, ...]:
    """Return what checked conditions leave, and which of them may not be meant as they are; empty without any."""
    if not (found := conditions(where)) and not whens(knobs):
        return ()
    every = encoded(knobs)
    notes = [
        f"`where` and `when` leave {counted(len(space_of(knobs, where)), 'configuration')} of "
        f"{counted(math.prod(len(knob.values) for knob in every), 'combination')} of values"
    ]
    for place, condition in found.items():
        concerned = deciding(every, condition.names)
        if (many := _count(concerned)) and many == _count(concerned, condition):
            notes.append(
                f"{dotted(place)}: {condition.text!r} always holds, so it rules nothing out; it can be left out"
            )
    for place, condition in whens(knobs).items():
        if _always(every, condition):
            notes.append(f"{dotted(place)}: {condition.text!r} always holds, so {place[1]} always exists; leave it out")
    return tuple(notes)


def _always(knobs: list[Knob], condition: Condition) -> bool:
    """Whether a condition is true, and not merely without a value, of all combinations of its knobs."""
    probe = Knob("", (True,), when=condition)
    try:
        rows = allowed_rows([*deciding(knobs, condition.names), probe], most=MOST_CONFIGURATIONS)
    except TooMany:
        return False
    return bool((rows[:, -1] == 0).all())


def _count(knobs: list[Knob], *where: Condition) -> int:
    """Return how many combinations keep conditions; 0 where they are too many to look at."""
    try:
        return len(allowed_rows(knobs, where, MOST_CONFIGURATIONS))
    except (NothingAllowed, TooMany):
        return 0

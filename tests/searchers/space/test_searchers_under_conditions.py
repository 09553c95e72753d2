"""Every searcher on a space with conditions: all that is allowed is suggested, once, and nothing else is."""

import numpy as np
import pytest

from searchers.base import History, Observation, Problem, Task
from searchers.objective import Expression, Objective
from searchers.registry import NAMED, named
from searchers.space import Condition, Knob, Space

SPACE = Space(
    [
        Knob("cpu_cores", (1, 2, 4)),
        Knob("engine", ("vllm", "trt"), "categorical"),
        Knob("block", (8, 16), when=Condition('engine == "vllm"')),
    ],
    where=[Condition('engine == "vllm" or cpu_cores < 4')],
)


def measured(position: int) -> dict[str, float] | None:
    config = SPACE[position]
    return None if config.get("block") == 16 else {"rps": 10.0 * int(config["cpu_cores"]), "p99_ms": 40.0}


@pytest.mark.parametrize("name", sorted(NAMED))
def test_all_that_is_allowed_is_suggested_once(name):
    source = Task("earlier", SPACE, tuple(Observation(p, measured(p)) for p in range(len(SPACE))))
    objective = Objective(Expression("rps"), at_most={"p99_ms": 50.0})
    searcher = named(name)(Problem(SPACE, objective, sources=(source,)))
    history = History()
    for turn in range(len(SPACE)):
        position = searcher.suggest(history, np.random.default_rng([7, turn]))
        assert position is not None and position not in history.taken
        history = history.observe(position, measured(position))
    assert searcher.suggest(history, np.random.default_rng(7)) is None and len(SPACE) == 8

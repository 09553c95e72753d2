"""The comparison for programs: every number of it, from figures of which the answer is known by hand."""

import json
import math
from typing import Any

import pytest

from raytune_infer.comparing.comparison import compared
from raytune_infer.comparing.comparison_dict import as_dict
from tests.raytune_infer.comparing.final_rounds import BROKEN, GOAL, answering_otherwise, finals, halves


def test_without_an_interval_its_ends_are_null():
    trials = [*finals([(1, 100.0)]), *finals([(0, 50.0)], first=3)]
    told: Any = as_dict(compared(trials, GOAL, 0))
    other = next(c for c in told["configurations"] if not c["default"])
    assert (other["figure"]["low"], told["configurations"][-1]["over_first"]["high"]) == (None, None)
    json.dumps(told, allow_nan=False)


def test_programs_are_told_the_same():
    trials = finals([(1, 100.0), (2, None), (0, 99.0)], [(0, 99.0), (1, 100.0)], prices={0: math.nan})
    ratio, mean = (math.exp(half) for half in halves(2, 2))
    told: Any = as_dict(compared(trials, GOAL, 0))
    configurations = told.pop("configurations")
    # They cannot be told apart, so the default is recommended.
    over = {"value": 1.0, "low": 1.0, "high": 1.0}
    assert told == {"rounds": 2, "confidence": 0.95, "over_default": over, "distinguishable": False}
    assert configurations == [
        {"config": {"n": 1}, "usd_per_hour": 1.0, "rounds": 2, "rounds_kept": 2, "recommended": False,
         "default": False, "answers_differ": None, "like_first": True,
         "over_first": {"value": 1.0, "low": 1.0, "high": 1.0},
         "figure": pytest.approx({"value": 100.0, "low": 100 / mean, "high": 100 * mean})},
        {"config": {"n": 0}, "usd_per_hour": None, "rounds": 2, "rounds_kept": 2, "recommended": True,
         "default": True, "answers_differ": None, "like_first": True,
         "over_first": pytest.approx({"value": 0.99, "low": 0.99 / ratio, "high": 0.99 * ratio}),
         "figure": pytest.approx({"value": 99.0, "low": 99 / mean, "high": 99 * mean})},
        {"config": {"n": 2}, "usd_per_hour": 1.0, "rounds": 1, "rounds_kept": 0, "recommended": False,
         "default": False, "answers_differ": None, "like_first": False, "over_first": None, "figure": None},
    ]  # fmt: skip
    nobody: Any = as_dict(compared(finals([(0, 50.0, BROKEN)]), GOAL, 0))
    assert nobody["over_default"] is None and nobody["configurations"][0]["over_first"] is None
    clear: Any = as_dict(compared(finals([(1, 100.0), (0, 50.0)], [(0, 50.0), (1, 100.0)]), GOAL, 0))
    differing: Any = as_dict(compared(answering_otherwise(finals([(1, 100.0), (0, 50.0)]), 1), GOAL, 0))
    assert [c["answers_differ"] for c in differing["configurations"]] == [True, None]
    assert clear["distinguishable"] and [c["like_first"] for c in clear["configurations"]] == [True, False]

"""What a knob moves, by hand, and the reasons that are given."""

import numpy as np
import pytest

from searchers.falcon.knob_effects import knob_effects, line_deviation, lines
from searchers.space import Knob, Space

SPACE = Space([Knob("batch", (1, 2)), Knob("cores", (1, 2, 3)), Knob("fixed", (7,))])
RANKS = SPACE.ranks


def test_an_effect_is_the_difference_from_the_mean_along_the_knob():
    surface = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])  # batch moves it by 3, cores by 1 a step
    by_batch, by_cores = (line_deviation(surface, *lines(RANKS, j)) for j in (0, 1))
    assert by_batch == pytest.approx(1.5) and by_cores == pytest.approx(np.sqrt(2 / 3))


def test_what_is_within_noise_is_dropped_and_why_is_said():
    surfaces = {"rps": np.array([0.0, 0.01, 0.02, 1.0, 1.01, 1.02]), "usd_per_hour": np.zeros(6)}
    batch, cores, fixed = knob_effects(SPACE, RANKS, surfaces, {"rps": 0.03, "usd_per_hour": 1e-9})
    assert batch.kept and (batch.quantity, batch.effect) == ("rps", pytest.approx(0.5))
    assert batch.why == "it moves rps by 0.5, more than the 0.03 that a measurement can tell"
    assert not cores.kept and cores.effect == pytest.approx(0.01 * np.sqrt(2 / 3))
    assert cores.why == "it moves rps by 0.00816, no more than the 0.03 that a measurement can tell"
    assert not fixed.kept and fixed.why == "it has one value in all configurations"


def test_a_knob_that_moves_the_price_alone_is_kept():
    surfaces = {"rps": np.zeros(6), "usd_per_hour": np.log([1.0, 1.001, 1.002, 1, 1.001, 1.002])}
    batch, cores, _ = knob_effects(SPACE, RANKS, surfaces, {"rps": 0.03, "usd_per_hour": 1e-9})
    assert not batch.kept and cores.kept and cores.quantity == "usd_per_hour"


def test_what_cannot_be_told_is_kept():
    assert [e.kept for e in knob_effects(SPACE, RANKS, {}, {})] == [True, True, False]
    diagonal = Space(SPACE.knobs, [{"batch": 1, "cores": 1, "fixed": 7}, {"batch": 2, "cores": 3, "fixed": 7}])
    batch, *_ = knob_effects(diagonal, diagonal.ranks, {"rps": np.array([0.0, 5.0])}, {"rps": 0.03})
    assert batch.kept and batch.why.startswith("no two configurations differ in it alone")


def test_a_space_of_one_knob_is_one_line():
    line, size = lines(np.array([[0], [1], [2]]), 0)
    assert line.tolist() == [0, 0, 0] and size.tolist() == [3]

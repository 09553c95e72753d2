"""Levels in the order of what was asked of them, one for each."""

from raytune_infer.ranking.curve import in_order
from tests.levels import a_level


def of(*rates, asked=10.0):
    return [a_level(asked, achieved_rps=float(rps)) for rps in rates]


def test_levels_come_in_the_order_of_what_was_asked_and_the_middle_stands_for_those_of_the_same():
    levels = [*of(19, asked=20.0), *of(9, 11, 10), *of(18, asked=20.0)]
    assert [level.rate_rps for level in in_order([*levels, a_level(clients=1)], "open")] == [10, 18]
    assert [level.asked for level in in_order([*levels, a_level(clients=1)], "closed")] == [1]


def test_the_lower_of_two_in_the_middle_stands_for_both():
    levels = of(12, 9, 11, 10)
    assert in_order(levels, "open")[0].rate_rps == 10 and in_order(levels, "closed") == ()
    assert in_order(levels[:1], "open")[0].rate_rps == 12
    assert in_order(levels[:2], "open")[0].rate_rps == 9

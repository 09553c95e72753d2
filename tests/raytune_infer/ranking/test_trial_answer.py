"""A trial's own answer: the level that stands for it, and the rate and times that the trial reported."""

from dataclasses import replace

import pytest

from raytune_infer.ranking.trial_answer import TrialAnswer, answer_of, with_figures
from tests.raytune_infer.ranking.ranked_trials import level, trial

LEVELS = (level(300, 40), level(350, 90), level(400, 130))


def test_a_trials_answer_is_the_level_that_it_reported_with_what_it_said_of_its_rate():
    of_it = {"reported": 1, "interval_rps": (340.0, 380.0), "ended_early": True, "client_limited": True}
    answer = answer_of(trial(1, 0, *LEVELS, rps=360.0, **of_it))
    assert answer == TrialAnswer(LEVELS[1], {"rps": 360.0}, (340.0, 380.0), ended_early=True, client_limited=True)
    assert answer is not None and answer.rate_rps == 360.0
    plain = answer_of(trial(1, 0, *LEVELS, rps=350.0, reported=0))
    assert plain == TrialAnswer(LEVELS[0], {"rps": 350.0})  # whether it ended early is not known of older ones


def test_a_trial_without_a_level_that_stands_for_it_has_none():
    assert answer_of(trial(1, 0, *LEVELS)) is None and answer_of(trial(1, 0, reported=0)) is None


def test_at_its_rate_the_level_has_the_trials_figures_and_keeps_the_others():
    both = with_figures(LEVELS[0], {"rps": 320.0, "p99_ms": 70.0, "error_rate": 0.5})
    assert (both.rate_rps, both.value("p99_ms"), both.value("p50_ms")) == (320.0, 70.0, LEVELS[0].value("p50_ms"))
    assert (both.asked, both.error_rate, both.completed) == (300.0, 0.0, LEVELS[0].completed)
    answer = TrialAnswer(LEVELS[0], {"rps": 320.0}, (310.0, 330.0))
    assert answer.at_its_rate == replace(answer, level=with_figures(LEVELS[0], {"rps": 320.0}))


@pytest.mark.parametrize("ends", [(200.0, 319.0), (321.0, 400.0)])
def test_a_rate_outside_its_interval_is_refused(ends):
    with pytest.raises(ValueError, match="an interval of 0 or more around the rate 320.0 is needed"):
        TrialAnswer(LEVELS[0], {"rps": 320.0}, ends)

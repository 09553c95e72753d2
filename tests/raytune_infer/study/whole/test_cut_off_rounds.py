"""A final comparison that is killed, anywhere, and goes on: the means and intervals of one that nobody killed."""

import math
from pathlib import Path

import numpy as np
import pytest

from raytune_infer.comparing.comparison import Comparison
from raytune_infer.comparing.rounds import in_rounds
from raytune_infer.study.result import StudyResult
from serve_deployments.settings import Settings
from tests.raytune_infer.study.stop_after import Notes
from tests.raytune_infer.study.whole_studies import SPEC, Machine, measurement, rate_rps, study, without_ray

SEARCHED = 3
TEXT = SPEC.replace("trials: 5", f"trials: {SEARCHED}").replace("rps / usd_per_hour", "rps")
MEASURED = 16
"""Of the whole comparison: four rounds of three and the default, as its noise hides what is first."""


class Noisy(Machine):
    """A machine on which each configuration has its luck in each round, as the arrivals of the round have it.

    Args:
        speed: how fast it is, relative to another time of the day.
        killed_in: see `Machine`.
    """

    def __init__(self, speed: float = 1.0, killed_in: int = 0) -> None:
        super().__init__(killed_in=killed_in)
        self.speed = speed

    def measure(self, running, settings: Settings, *, to_beat_rps=None, number=0):
        super().measure(running, settings, to_beat_rps=to_beat_rps, number=number)
        luck = np.random.default_rng([number, settings.cpu_cores, settings.max_batch_size]).standard_normal()
        alike = 100 * rate_rps(settings) ** 0.1  # so that two rounds do not tell them apart
        return measurement(self.speed * alike * math.exp(0.2 * luck * (number > 0)))


@pytest.fixture(autouse=True)
def in_process(monkeypatch) -> None:
    without_ray(monkeypatch)


@pytest.fixture(scope="module")
def uncut(tmp_path_factory) -> StudyResult:
    with pytest.MonkeyPatch.context() as patch:
        without_ray(patch)
        return study(tmp_path_factory.mktemp("uncut") / "run", Noisy(), TEXT, searcher="random").run()


def figures(comparison: Comparison) -> list[float]:
    """Of each configuration its mean with its interval, and its rate."""
    means = [(c, comparison.mean(c), comparison.mean_of("rps", c)) for c in comparison.counting]
    return [x for c, mean, rate in means for x in (c.position, mean.value, mean.low, mean.high, rate.value)]


def ratios(comparison: Comparison) -> list[float]:
    first = comparison.counting[0]
    found = [comparison.ratio(c, first) for c in comparison.counting[1:]]
    return [end for ratio in found for end in (ratio.value, ratio.low, ratio.high)]


def rounds(result: StudyResult) -> list[list[int]]:
    return [list(measured) for measured in in_rounds(result.trials)]


def gone_on_with(out: Path, killed_in: int, later: Noisy) -> StudyResult:
    with pytest.raises(KeyboardInterrupt):
        study(out, Noisy(killed_in=killed_in), TEXT, searcher="random").run()
    return study(out, later, TEXT).run(resume=True)


def stopped_after(out: Path, trials: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        study(out, Noisy(), TEXT, searcher="random").run(progress=Notes(trials))


def test_the_comparison_that_is_cut_below_is_a_whole_one(uncut):
    assert sum(map(len, rounds(uncut))) == MEASURED and {len(each) for each in rounds(uncut)} == {4}
    for contestant in uncut.comparison.contestants:  # so a mean is that of its own rounds
        own = [t.metrics["rps"] for t in contestant.trials]
        mean = uncut.comparison.mean_of("rps", contestant)
        assert mean is not None and mean.value == pytest.approx(math.exp(np.log(own).mean()))


@pytest.mark.parametrize("cut", range(1, MEASURED + 1))
def test_a_kill_within_any_measurement_leaves_the_figures_as_they_would_have_been(tmp_path, uncut, cut):
    result = gone_on_with(tmp_path / "run", SEARCHED + cut, later := Noisy())
    assert figures(result.comparison) == pytest.approx(figures(uncut.comparison)), rounds(result)
    assert ratios(result.comparison) == pytest.approx(ratios(uncut.comparison))
    assert rounds(result) == rounds(uncut)
    # Whole rounds that were done before are not measured again, and those that follow have the arrivals of their own.
    done = (cut - 1) // 4 * 4
    assert [number for number, _, _ in later.asked] == [1 + at // 4 for at in range(done, MEASURED)]


@pytest.mark.parametrize("cut", range(1, MEASURED + 1))
def test_so_does_a_kill_between_any_two(tmp_path, uncut, cut):
    stopped_after(tmp_path / "run", SEARCHED + cut)
    result = study(tmp_path / "run", Noisy(), TEXT).run(resume=True, progress=(notes := Notes()))
    assert figures(result.comparison) == pytest.approx(figures(uncut.comparison))
    assert rounds(result) == rounds(uncut)
    said = [told for told in notes.told if "measured anew" in told]
    gone = ", ".join(str(SEARCHED + done) for done in range(cut - cut % 4 + 1, cut + 1))
    assert said == ([f"the round that was cut off is measured anew, without trial {gone}"] if gone else [])


@pytest.mark.parametrize("cut", range(1, MEASURED + 1))
def test_a_machine_that_is_slower_after_the_pause_changes_no_ratio(tmp_path, uncut, cut):
    """No round is of measurements from before and after it."""
    stopped_after(tmp_path / "run", SEARCHED + cut)
    result = study(tmp_path / "run", Noisy(speed=0.5), TEXT).run(resume=True)
    assert ratios(result.comparison) == pytest.approx(ratios(uncut.comparison))


def test_a_run_that_is_killed_again_and_again_comes_to_the_same_end(tmp_path, uncut):
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        study(out, Noisy(killed_in=SEARCHED + 3), TEXT, searcher="random").run()
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            study(out, Noisy(killed_in=2), TEXT).run(resume=True)
    result = study(out, Noisy(), TEXT).run(resume=True)
    assert figures(result.comparison) == pytest.approx(figures(uncut.comparison))

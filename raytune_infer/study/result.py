"""The result of a study: the recommendation from its trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from raytune_infer.comparing.blocks import Estimate
from raytune_infer.comparing.comparison import Comparison, compared
from raytune_infer.comparing.comparison_schedule import Left, schedule_of
from raytune_infer.comparing.configuration_result import ConfigurationResult, result_of, result_of_search
from raytune_infer.counted import by_number
from raytune_infer.errors import AllFailed
from raytune_infer.spec.service_spec import ServiceSpec
from raytune_infer.store.records import TrialRecord, best_searched
from raytune_infer.store.run_folder import RunFolder
from searchers.base import Problem
from searchers.objective import Objective
from searchers.space import Config
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.metrics.level_result import first_error


@dataclass(frozen=True)
class StudyResult:
    """The result of a study.

    Args:
        run: the run's folder.
        trials: every finished trial, those of the final comparison included.
        best: the recommended configuration; its figures are means over the rounds of the final comparison.
        default: the same for the configuration to beat (see `ServiceSpec.default_config`); None if it does not fit on
            this cluster.
        objective: the goal and its limits.
        prices: the price book's name and date.
        comparison: the final comparison: means, ratios and their intervals.
    """

    run: RunFolder
    trials: tuple[TrialRecord, ...]
    best: ConfigurationResult
    default: ConfigurationResult | None
    objective: Objective
    prices: str
    comparison: Comparison

    @property
    def ratio(self) -> float | None:
        """Ratio of the best configuration's figure to the default's; None if the default does not count."""
        return None if self.ratio_interval is None else self.ratio_interval.value

    @property
    def ratio_interval(self) -> Estimate | None:
        """`ratio` with its interval."""
        return self.comparison.over_default


class NothingToRecommend(AllFailed):
    """A study is over and none of its configurations counts; its trials are there all the same.

    Args:
        message: why none counts.
        run: the run's folder.
        trials: every finished trial.
    """

    def __init__(self, message: str, run: RunFolder, trials: Sequence[TrialRecord]) -> None:
        super().__init__(message)
        self.run, self.trials = run, tuple(trials)


def best_of(trials: Sequence[TrialRecord], comparison: Comparison) -> ConfigurationResult | None:
    """Return the configuration to run: from the final comparison or, before there is one, from the search.

    Args:
        trials: the trials of a study.
        comparison: its final comparison, as far as it has come.
    """
    if comparison.rounds:
        recommended = comparison.recommended
        return None if recommended is None else result_of(comparison, recommended)
    best = best_searched(trials)
    return None if best is None else result_of_search(best)


def position_of(config: Config, trials: Sequence[TrialRecord]) -> int | None:
    """Return the position of a configuration, taken from the trials; None if no trial had it."""
    return next((t.position for t in trials if t.config == config), None)


class Unfinished(NamedTuple):
    """What is known beside the rounds of a comparison that has begun and is not over.

    Args:
        left: how far it has come; None if it is over, or has not begun.
        searched: the trials of the search that count until it is over (`compared`).
    """

    left: Left | None = None
    searched: tuple[TrialRecord, ...] = ()


def unfinished_comparison(run: RunFolder, trials: Sequence[TrialRecord], spec: ServiceSpec) -> Unfinished:
    """Return how far the final comparison of a run has come, and what counts with its rounds until it is over.

    Args:
        run: the run.
        trials: the study's finished trials.
        spec: its specification.
    """
    if run.concluded or not any(t.purpose == "final" for t in trials):
        return Unfinished()
    unfinished = run.unfinished()
    if run.concluded is None and not unfinished:
        return Unfinished()  # a run from before this was kept, of which nothing says that it was stopped
    default = position_of(spec.default_config, trials)
    again = LoadTest(LoadPlan(request_limits=spec.request_limits), spec.latency_limits, spec.load.find).again
    schedule = schedule_of(trials, spec.goal, default, spec.budget, spec.budget.parallel, again)
    done = sum(t.purpose == "final" for t in trials)
    left = schedule.left(trials) or (Left(done, done + 1) if unfinished else None)
    return Unfinished() if left is None else Unfinished(left, schedule.searched(trials))


def comparison_so_far(
    run: RunFolder, trials: Sequence[TrialRecord], spec: ServiceSpec
) -> tuple[Comparison, Left | None]:
    """Return a run's final comparison under its own objective, and how far it has come if it is not over."""
    unfinished = unfinished_comparison(run, trials, spec)
    return comparison_of(trials, spec, unfinished), unfinished.left


def comparison_of(trials: Sequence[TrialRecord], spec: ServiceSpec, unfinished: Unfinished) -> Comparison:
    """Return the final comparison of these trials under the run's own objective, as far as it has come."""
    return compared(trials, spec.goal, position_of(spec.default_config, trials), unfinished.searched)


def conclude(
    run: RunFolder, problem: Problem, trials: Sequence[TrialRecord], default: int | None, prices: str
) -> StudyResult:
    """Conclude the study from its final comparison, which says what to run (`Comparison.recommended`).

    The best value of the search is biased upwards, as the maximum of many noisy ones; only a configuration that
    further measurements confirm is recommended. So the default itself is recommended if nothing surely beats it.

    Raises:
        NothingToRecommend: no configuration counts; the message says why.
    """
    comparison = compared(trials, problem.objective, default)
    if comparison.recommended is None:
        raise NothingToRecommend(_why(problem, trials), run, trials)
    beaten = comparison.of(default)
    return StudyResult(
        run=run, trials=tuple(trials), best=result_of(comparison, comparison.recommended), prices=prices,
        default=None if beaten is None else result_of(comparison, beaten), objective=problem.objective,
        comparison=comparison,
    )  # fmt: skip


def _why(problem: Problem, trials: Sequence[TrialRecord]) -> str:
    ran = [t for t in trials if t.outcome.metrics is not None]
    if not ran:
        reasons = Counter(t.outcome.reason for t in trials)
        said = "\n".join(f"  {count} × {reason}" for reason, count in reasons.most_common())
        all_of = by_number(len(trials), "the only trial could not run", f"none of the {len(trials)} trials could run")
        return f"{all_of}:\n{said}"
    objective = problem.objective
    tried = len({t.position for t in ran})
    none = by_number(
        tried, "the only configuration that ran does not keep all limits reliably",
        f"none of the {tried} configurations that ran keeps all limits reliably",
    )  # fmt: skip
    lines = [f"{none}; the best value for each limit:"]
    for name, limit in (*objective.at_most.items(), *objective.at_least.items()):
        sign = min if name in objective.at_most else max
        values = [t.metrics[name] for t in ran if name in t.metrics]
        lines.append(f"  {name}: limit {limit:g}, {f'best {sign(values):.4g}' if values else 'never measured'}")
    if (failed := first_error(level for t in ran for level in t.outcome.levels)) is not None:
        lines.append(f"requests failed, the first with {failed}")
    return "\n".join([*lines, "loosen a limit, or add values to the knobs"])

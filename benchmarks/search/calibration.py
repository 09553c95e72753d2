"""Calibration of searchers' predicted chance that something better exists, against the true answer.

    python -m benchmarks calibration SUITE... [--margins 0 0.05 0.2] [--curves docs/images/calibration.svg]

A searcher that can stop offers `chance_of_more(history, margin)`: the chance that some configuration is better than the
best so far by more than a fraction `margin` of it. In a replay the answer is known. The question is asked after each
trial from the first whose value counts, since before that there is no best. Searchers without the method are left out.

The Brier score is the mean of (chance - answer)², 0 at best (Brier 1950). A constant prediction of the frequency q of
"yes" scores q (1 - q), and the skill is the fraction by which a searcher reduces that. Trials of one search are
correlated, so their number says little about precision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import markdown, put
from benchmarks.search.replaying.drawings import reliability
from benchmarks.search.replaying.processes import parts_of_all
from benchmarks.search.replaying.suite_arguments import link_to, plans_of, suite_parser_of
from raytune_infer.suites.replays import Plan, Unit
from raytune_infer.suites.suites import Suite
from searchers.base import History, PredictsGain, Problem, Searcher
from searchers.registry import NAMED, named
from searchers.replay import MeasuredTable, replay
from searchers.space import Knob, Space

BINS = 10


@dataclass(frozen=True)
class Asked:
    """One question to a searcher, its prediction, and the true answer.

    Args:
        searcher: the searcher's name.
        margin: the margin asked about, as a fraction of the best so far.
        chance: the chance that the searcher predicts.
        more: whether something better by more than the margin exists.

    Raises:
        ValueError: the chance is not from 0 to 1.
    """

    searcher: str
    margin: float
    chance: float
    more: bool

    def __post_init__(self) -> None:
        if not 0 <= self.chance <= 1:
            raise ValueError(f"{self.searcher}: chance_of_more must be from 0 to 1, got {self.chance}")


@dataclass(frozen=True)
class Calibration:
    """The calibration of predicted chances.

    Args:
        counts: `[BINS]` number of questions in each bin of chances, [0, 0.1) … [0.9, 1].
        predicted: `[BINS]` mean predicted chance in each bin; NaN where the bin is empty.
        observed: `[BINS]` frequency of "yes" in each bin; NaN likewise.
        brier: Brier score of all questions.
        frequency: frequency of "yes" over all questions.
    """

    counts: np.ndarray
    predicted: np.ndarray
    observed: np.ndarray
    brier: float
    frequency: float

    @property
    def skill(self) -> float:
        """1 - brier / (q (1 - q)); NaN where the answer was always the same."""
        always = self.frequency * (1 - self.frequency)
        return 1 - self.brier / always if always > 0 else float("nan")

    def known(self) -> tuple[list[float], list[float]]:
        """Mean predicted chance and observed frequency of the bins that are not empty."""
        there = self.counts > 0
        return self.predicted[there].tolist(), self.observed[there].tolist()


def calibration(chances: Sequence[float], more: Sequence[bool]) -> Calibration:
    """The calibration of one or more questions, from the predicted chances and the true answers."""
    p, so = np.asarray(chances, dtype=float), np.asarray(more, dtype=float)
    # Rounded, so that 0.3 times 10 does not fall below 3; a chance of 1 belongs to the last bin.
    which = np.minimum(np.floor(np.round(p * BINS, 9)).astype(int), BINS - 1)
    counts = np.bincount(which, minlength=BINS)
    with np.errstate(invalid="ignore"):
        predicted, observed = (np.bincount(which, weights=each, minlength=BINS) / counts for each in (p, so))
    return Calibration(counts, predicted, observed, float(((p - so) ** 2).mean()), float(so.mean()))


class GainPredictingSearcher(Searcher, PredictsGain, Protocol):
    """A searcher that also predicts whether something better exists."""


def questions(
    table: MeasuredTable, searcher: GainPredictingSearcher, plan: Plan, seed: int
) -> Iterator[tuple[History, float]]:
    """The history after each trial, from the first whose value counts, and the best value in it."""
    history = History()
    for step in replay(table, searcher, budget=plan.budget, seed=seed):
        history = history.observe(step.position, table.metrics[step.position])
        if step.best is not None:
            yield history, step.best


def answered(suite: Suite, plan: Plan, unit: Unit, margins: Sequence[float]) -> Iterator[Asked]:
    """A searcher's predictions on the tasks of a unit, with the true answers."""
    for objective in plan.objectives:
        for task in unit.tasks:
            table = suite.table(task, objective)
            top = float(table.values().max())
            for seed in range(plan.seeds if top > 0 else 0):
                searcher = cast(GainPredictingSearcher, named(unit.searcher)(table.problem))
                for history, best in questions(table, searcher, plan, seed):
                    for margin in margins:
                        chance = float(searcher.chance_of_more(history, margin))
                        yield Asked(unit.searcher, margin, chance, top > (1 + margin) * best)


def doubting() -> list[str]:
    """Names of the searchers that have `chance_of_more`."""
    from searchers.objective import Expression, Objective

    toy = Problem(Space([Knob("batch", (1, 2))]), Objective(Expression("rps")))
    return [name for name in sorted(NAMED) if hasattr(named(name)(toy), "chance_of_more")]


def body(asked: Sequence[Asked], curves: str | None) -> str:
    """The text of the section of results."""
    parts = [
        "The chance that a searcher gives, after each trial, that some configuration is better than the best so far by "
        "more than the margin, against whether there is one. Skill: by what share the Brier score is lower than that "
        "of a constant chance."
    ]
    scores, bins = [], []
    for searcher, margin, found in calibrations(asked):
        questions_asked = str(found.counts.sum())
        figures = (found.frequency, found.brier, found.skill)
        scores.append([searcher, f"{margin:g}", questions_asked, *(f"{figure:.3f}" for figure in figures)])
        cells = [f"{o:.2f} ({n})" if n else "" for o, n in zip(found.observed, found.counts, strict=True)]
        bins.append([searcher, f"{margin:g}", *cells])
    parts.append(markdown(("searcher", "margin", "questions", "frequency of yes", "Brier score", "skill"), scores))
    parts.append("Frequency of yes (number of questions), by the chance that the searcher gave:")
    limits = [f"{100 * i // BINS}–{100 * (i + 1) // BINS} %" for i in range(BINS)]
    parts.append(markdown(("searcher", "margin", *limits), bins))
    parts += [f"![Observed against predicted]({curves})"] if curves else []
    return "\n\n".join(parts)


def calibrations(asked: Sequence[Asked]) -> Iterator[tuple[str, float, Calibration]]:
    """The calibration of each searcher at each margin."""
    for searcher, margin in sorted({(one.searcher, one.margin) for one in asked}):
        mine = [one for one in asked if (one.searcher, one.margin) == (searcher, margin)]
        yield searcher, margin, calibration([one.chance for one in mine], [one.more for one in mine])


def main(arguments: Sequence[str]) -> None:
    parser = suite_parser_of(__name__, __doc__, "all that have the method")
    parser.add_argument("--margins", nargs="+", type=float, default=[0.0, 0.05, 0.2], help="fractions of the best")
    parser.add_argument("--curves", type=Path, metavar="SVG", help="also draw observed against predicted")
    asked = parser.parse_args(arguments)
    able = doubting()
    names = asked.searchers or able
    if not names or set(names) - set(able):
        got = ", ".join(names) or "none"
        raise SystemExit(f"only these searchers have `chance_of_more`: {', '.join(able) or 'none'}; got {got}")
    plans = plans_of(asked, names)
    suites = [plan.load(plan.folder).name for plan in plans]
    found = list(parts_of_all(answered, plans, asked.margins, asked.jobs))
    if not found:
        raise SystemExit("no search had a trial that counts, so there is no chance to compare")
    link = None
    if asked.curves:
        lines = {f"{s}, {100 * margin:g} % more": c.known() for s, margin, c in calibrations(found)}
        reliability(asked.curves, lines, "something better")
        link = link_to(asked.curves, asked.out)
    heading = f"Calibration: {', '.join(suites)} (at most {asked.budget} trials, seeds: {asked.seeds})"
    put(asked.out, heading, Origin.here(__name__, arguments), body(found, link))

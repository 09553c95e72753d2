"""Tests whether meta-learning helps: the shipped meta-model on the 42 models that it never saw.

    python -m benchmarks adaptation [--trials 100] [--searchers NAME...]

Each model is emulated on the 720 configurations of the Morphling paper (SoCC 2021, section 5), at the
paper's prices, for the most requests per dollar. All figures are computed by the roofline, not measured.
About 6 minutes on one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import markdown, put
from cluster.emulated.profiles import PROFILES
from cluster.prices import load_prices
from raytune_infer.priors.emulated_tasks import PAPER_KNOBS, emulate
from searchers.baselines.ernest import fit
from searchers.morphling.maml import adapt, unit_of
from searchers.morphling.meta_model import MetaModel
from searchers.morphling.mlp import initial_weights, predict
from searchers.morphling.morphling import inputs_of, pretrained
from searchers.objective import Expression, Objective
from searchers.registry import named
from searchers.replay import MeasuredTable, fractions, replay, trials_over

POINTS = (1, 5, 10, 20)


def held_out() -> list[MeasuredTable]:
    objective, prices = Objective(Expression("rps / usd_per_hour")), load_prices("morphling-2021")
    return [replace(emulate(each, PAPER_KNOBS, objective, prices), name=each.name) for each in PROFILES]


def squared_errors(table: MeasuredTable, model: MetaModel, points: int, seed: int) -> tuple[float, float, float]:
    """Mean squared errors on all 720 values, which are fractions of the best.

    Returns:
        The errors of the adapted meta-model, of a random start after as many steps, and of a random start after
        convergence.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs, unknown = model.standardise(*inputs_of(table.problem))
    x = torch.from_numpy(inputs).float()
    y = torch.from_numpy(table.values() / table.values().max()).float()
    at = torch.from_numpy(np.random.default_rng(seed).choice(len(y), points, replace=False))
    steps = torch.tril(torch.ones(points, points))

    def error(weights: dict[str, torch.Tensor], unit: torch.Tensor) -> float:
        with torch.no_grad():
            return float(((unit * predict(weights, x) - y) ** 2).mean())

    def few_steps(start: dict[str, torch.Tensor], unit: torch.Tensor) -> float:
        return error(adapt(start, x[at], y[at] / unit, step_size=model.step_size, steps=points, mask=steps), unit)

    best_seen = y[at].max() if y[at].max() > 0 else torch.tensor(1.0)
    theta, random = model.weights_for(len(unknown)), initial_weights(x.shape[1], generator)
    converged = fit(x[at], y[at] / best_seen, steps=1000, step_size=0.003, generator=generator)
    adapted = few_steps(theta, unit_of(predict(theta, x[at]), y[at]))
    return adapted, few_steps(random, best_seen), error(converged, best_seen)


def found(table: MeasuredTable, searcher: str, most: int, seed: int) -> np.ndarray:
    """`[most]` the best value so far as a fraction of the table's best; the search stops once it has found the best."""
    best, steps = table.values().max(), []
    for step in replay(table, named(searcher)(table.problem), budget=most, seed=seed):
        steps.append(step)
        if step.best == best:
            break
    return fractions(steps, best, most)


def error_table(tables: Sequence[MeasuredTable], model: MetaModel, draws: int) -> str:
    """The table of errors, a row per number of points."""
    rows = []
    for points in POINTS:
        errors = [squared_errors(table, model, points, seed) for table in tables for seed in range(draws)]
        rows.append([str(points), *(f"{value:.4f}" for value in np.mean(errors, axis=0))])
        print(" | ".join(rows[-1]), flush=True)
    header = ("points", "meta-model, adapted", "from scratch, as many steps", "from scratch, converged")
    return markdown(header, rows, text=())


def trials_table(tables: Sequence[MeasuredTable], searchers: Sequence[str], most: int, seeds: int) -> str:
    """The table of trials to the goals, a row per searcher."""
    rows = []
    for name in searchers:
        searches = [found(table, name, most, seed) for table in tables for seed in range(seeds)]
        counts = [trials_over(searches, goal) for goal in (0.95, 1.0)]
        cells = [cell for count in counts for cell in (count.median, count.p90, count.worst)]
        rows.append([name, *(f"> {most}" if c is None else str(c) for c in cells)])
        print(" | ".join(rows[-1]), flush=True)
    return markdown(("searcher", "95 %: median", "p90", "worst", "100 %: median", "p90", "worst"), rows)


def main(arguments: Sequence[str]) -> None:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument("--trials", type=int, default=100, help="most trials of one search")
    parser.add_argument("--seeds", type=int, default=1, help="searches per model and searcher")
    parser.add_argument("--draws", type=int, default=1, help="random sets of points per model, for the errors")
    parser.add_argument("--searchers", nargs="+", default=["meta", "morphling", "ernest", "hyperopt", "random"])
    parser.add_argument("--model", type=Path, help="a meta-model other than the shipped one, for the errors")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    tables, model = held_out(), MetaModel.load(asked.model) if asked.model else pretrained()
    body = "\n\n".join([
        f"{len(tables)} held-out models, 720 configurations each, emulated; meta-model of {model.card.get('date')}. "
        "`meta` starts from surfaces that were learned on the same formulas with other models' descriptors; none of "
        "the held-out ones is among them.",
        "Mean squared error on all configurations, values as a fraction of the model's best:",
        error_table(tables, model, asked.draws),
        f"Trials until a configuration of 95 % and of 100 % of the best value, at most {asked.trials}:",
        trials_table(tables, asked.searchers, asked.trials, asked.seeds),
    ])  # fmt: skip
    put(asked.out, "What adaptation is worth", Origin.here(__name__, arguments), body)

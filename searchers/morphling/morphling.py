"""Morphling's search: sequential model-based optimisation that starts from a meta-model.

Wang et al., "Morphling: Fast, Near-Optimal Auto-Configuration for Cloud-Native Model Serving" (SoCC 2021),
Algorithm 2. The meta-model is trained by `searchers.morphling.maml`, on the problem's sources where it has any; the one
that ships is in `searchers/pretrained`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch

from searchers.base import History, Problem, largest_free
from searchers.morphling.maml import adapt, unit_of
from searchers.morphling.meta_model import MetaModel
from searchers.morphling.mlp import predict
from searchers.quantities import PRICE

PRICE_COLUMN = "log2_relative_usd_per_hour"
PRETRAINED = Path(__file__).parent.parent / "pretrained" / "morphling.safetensors"


@cache
def pretrained() -> MetaModel:
    """The meta-model that ships with the package; its card says what it was trained on."""
    return MetaModel.load(PRETRAINED)


def inputs_of(problem: Problem) -> tuple[np.ndarray, tuple[str, ...]]:
    """`[n, c]` raw inputs of a meta-model and their names: the space's features, and the price if the goal names it.

    The price of a configuration is known before any trial, so the model need not predict it. The input is log2 of
    its ratio to the space's mean (geometric), as the currency's unit carries no information; it is given only if the
    goal names the price, which also tells the model whether it predicts a rate or a rate per dollar. Our choice.
    """
    features, columns = problem.space.features, problem.space.columns
    usd = problem.usd_per_hour
    if PRICE not in problem.objective.goal.names or not (np.isfinite(usd) & (usd > 0)).all():
        return features, columns
    relative = np.log2(usd) - np.log2(usd).mean()
    return np.column_stack([features, relative]), (*columns, PRICE_COLUMN)


class Morphling:
    """Algorithm 2: measure where f_θi(x) + δ·|f_θi(x) − f_θi'(x)| is largest, then take the SGD step.

    Starting from θ_meta, step k of the search forms θ_i' = θ_i − α∇L(f_θi) on all that was measured
    before; Conf(x) = |f_θi(x) − f_θi'(x)| is how much that step changed the prediction at x, and stands for
    the uncertainty there; Acq(x) = f_θi(x) + δ·Conf(x); the free x with the largest Acq is measured, and
    θ_i ← θ_i'. The steps are replayed from the history at every call, so no state is kept between calls.

    Three choices are ours, as the paper leaves them open. f predicts fractions of the task's best value, which a search
    does not know: values are divided by `maml.unit_of`, a least-squares fit to θ_meta's predictions, the same rule as
    in meta-training. It is computed anew at each trial from all that was measured, and the steps are replayed in that
    unit, so that θ_i is the θ_i' of the trial before only up to its unit. An infeasible configuration has the value 0.
    And a trial that is still running counts as if it had ended with 0, the lowest value (the "constant liar" of
    Ginsbourger, Le Riche, Carraro 2010, section 4.2), as parallel trials would otherwise all be the same one.

    Args:
        problem: the space to search and the objective.
        model: the meta-model; the shipped one when left out. Columns are matched by name.
        delta: δ, the weight of the uncertainty. Our choice: of 0.5, 1 and 2 it took the fewest trials to 95 % of
            the best on 40 synthetic services of another seed, none of them a held-out model.
    """

    def __init__(self, problem: Problem, model: MetaModel | None = None, *, delta: float = 2.0) -> None:
        model = model or pretrained()
        inputs, unknown = model.standardise(*inputs_of(problem))
        self._problem = problem
        self._x = torch.from_numpy(inputs).to(model.weights["w0"].dtype)
        self._weights = model.weights_for(len(unknown))
        self._step_size = model.step_size
        self._delta = delta

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """The free position of the largest Acq; before the first trial, of the largest f_θmeta."""
        before, after = self._predictions(history)
        return largest_free(before + self._delta * np.abs(before - after), history, rng)

    def _predictions(self, history: History) -> tuple[np.ndarray, np.ndarray]:
        """`[n]` predictions f_θi before and `[n]` f_θi' after the newest SGD step, for every configuration."""
        positions = [o.position for o in history.observed] + sorted(history.pending)
        k = len(positions)
        with torch.no_grad():
            if k == 0:
                at_start = predict(self._weights, self._x).numpy()
                return at_start, at_start
            x = self._x[positions]
            lies = np.zeros(len(history.pending))
            y = torch.from_numpy(np.concatenate([self._problem.values(history), lies])).to(x.dtype)
            y = y / unit_of(predict(self._weights, x), y)
            # Row j of the triangle: the step that followed measurement j saw the first j + 1 points.
            seen = torch.tril(torch.ones(k, k, dtype=x.dtype))
            theta = adapt(self._weights, x, y, step_size=self._step_size, steps=k - 1, mask=seen[:-1])
            theta_next = adapt(theta, x, y, step_size=self._step_size, steps=1, mask=seen[-1])
            return predict(theta, self._x).numpy(), predict(theta_next, self._x).numpy()

"""Model-agnostic meta-learning: weights from which a few gradient steps fit a new task.

Finn, Abbeel, Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks" (ICML 2017), as
Morphling uses it (Wang et al., SoCC 2021, Algorithm 1): few-shot regression with an MLP of two hidden
layers of 128.

Notation (the paper's symbol, then ours):
    f_θ    `mlp.predict(weights, x)`
    α, β   `step_size` of the inner loop, `meta_step_size` of the outer one
    K      `shots`, the measured points of a task that the inner loop may see
    L      `mlp.squared_error`
    t, n, d   tasks, configurations of a task, feature columns
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, vmap

from searchers.morphling.mlp import MlpWeights, initial_weights, predict, squared_error

UnitRule = Callable[[Tensor, Tensor], Tensor]
"""Predictions at θ of the measured points, and their measured values → the unit by which values are divided."""

Order = Callable[[MlpWeights, Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
"""θ, and the points and values of an episode's tasks → the points and values in another order."""


def adapt(
    weights: MlpWeights, x: Tensor, y: Tensor, *, step_size: float, steps: int, mask: Tensor | None = None
) -> dict[str, Tensor]:
    """MAML inner loop, θ_i ← θ_i − α ∇L(f_θi) (Finn et al. 2017, Eq. 1); differentiable in `weights`.

    Args:
        weights: starting point, one tensor per name; left unchanged.
        x: `[n, d]` features of the measured configurations.
        y: `[n]` their values, standardised.
        step_size: α.
        steps: how many gradient steps.
        mask: which points count, as 0 and 1: `[n]`, or `[steps, n]` with a row for each step. A lower
            triangle of ones replays a search: step k sees the first k points.
    """
    if mask is None:
        mask = torch.ones_like(y)
    masks = mask.expand(steps, -1) if mask.dim() == 1 else mask
    adapted = dict(weights)
    for step in range(steps):
        gradient = grad(squared_error)(adapted, x, y, masks[step])
        adapted = {name: value - step_size * gradient[name] for name, value in adapted.items()}
    return adapted


def unit_of(predicted: Tensor, values: Tensor) -> Tensor:
    """Least-squares estimate of the task's best value, the unit by which measured values are divided.

    Predictions are fractions of a task's best value, which a search does not know. Least squares of
    values ≈ unit · predicted over the feasible points (value > 0) gives unit = Σ p·v / Σ p². It is at
    least the best value seen, as no fraction exceeds 1; and 1 while no point is feasible.

    Args:
        predicted: `[n]` predictions of the measured points; raised to at least 0.2, so that a prediction
            near or below zero cannot make the unit arbitrarily large.
        values: `[n]` measured values; 0 for infeasible points, which say nothing about the unit.
    """
    p = torch.where(values > 0, predicted.clamp(min=0.2), 0.0)
    unit = torch.maximum((p * values).sum() / (p * p).sum().clamp(min=1e-12), values.max())
    return torch.where(values.max() > 0, unit, torch.ones_like(unit))


@dataclass(frozen=True)
class Tasks:
    """Training data of a meta-model: many tasks over the same columns.

    Args:
        x: `[t, n, d]` features, or `[n, d]` if all tasks share them; standardised.
        y: `[t, n]` values as a fraction of the task's best; 0 where a configuration is infeasible.
        columns: names of the d columns.

    Raises:
        ValueError: the shapes of the arguments do not match.
    """

    x: Tensor
    y: Tensor
    columns: tuple[str, ...]

    def __post_init__(self) -> None:
        t, n = self.y.shape
        if self.x.shape not in {(t, n, len(self.columns)), (n, len(self.columns))}:
            raise ValueError(
                f"x must have shape [{t}, {n}, {len(self.columns)}] or [{n}, {len(self.columns)}]; "
                f"got {list(self.x.shape)}"
            )

    def draw(self, tasks: int, points: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw random tasks: `[tasks, points, d]` features, `[tasks, points]` values, points without replacement."""
        t, n = self.y.shape
        which = torch.randint(t, (tasks, 1), generator=generator)
        keys = torch.rand(tasks, n, generator=generator)
        index = keys.topk(min(points, n), dim=1).indices
        return (self.x[index] if self.x.dim() == 2 else self.x[which, index]), self.y[which, index]


def as_drawn(theta: MlpWeights, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The `[t, p, d]` points and `[t, p]` values in the random order in which they were drawn."""
    return x, y


def as_searched(theta: MlpWeights, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The points in about the order in which a search would measure them: the largest predictions first.

    A search does not adapt to random points: it moves to better ones, runs out of memory, and does so again nearby.
    Noise of a different size for each task (log-uniform, 0.02 to 2) gives orders from greedy to random.
    """
    with torch.no_grad():
        size = 0.02 * 100 ** torch.rand(len(y), 1, generator=generator)
        wish = predict(theta, x) + size.to(y.dtype) * torch.randn(y.shape, generator=generator, dtype=y.dtype)
        index = wish.argsort(dim=1, descending=True)
    return torch.take_along_dim(x, index[..., None], dim=1), torch.take_along_dim(y, index, dim=1)


def known_unit(predicted: Tensor, values: Tensor) -> Tensor:
    """Unit rule for values that are already in the model's own unit: 1."""
    return torch.ones_like(values[0])


def task_loss(
    weights: MlpWeights,
    seen: tuple[Tensor, Tensor],
    asked: tuple[Tensor, Tensor],
    mask: Tensor,
    step_size: float,
    unit_rule: UnitRule = known_unit,
) -> Tensor:
    """L_Ti(f_θi): mean squared error of the model, adapted to the points `seen`, on the points `asked`.

    Where the adaptation does not know the task's unit, as in a search, it sees values divided by an
    estimate of the unit, and its predictions are multiplied by that estimate before they are compared.
    """
    x, y = seen
    with torch.no_grad():
        unit = unit_rule(predict(weights, x), y)
    adapted = adapt(weights, x, y / unit, step_size=step_size, steps=len(mask), mask=mask)
    return ((unit * predict(adapted, asked[0]) - asked[1]) ** 2).mean()


def _episode_loss(
    theta: MlpWeights, drawn: tuple[Tensor, Tensor], mask: Tensor, step_size: float, unit_rule: UnitRule
) -> Tensor:
    """Mean loss of the tasks drawn, each adapted to as many of its first points as the mask is wide, judged on all."""
    (x, y), k = drawn, mask.shape[1]
    losses = vmap(task_loss, in_dims=(None, 0, 0, None, None, None))(
        theta, (x[:, :k], y[:, :k]), (x, y), mask, step_size, unit_rule
    )
    return losses.mean()


def _outer_step(theta: MlpWeights, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One step of θ down the loss, by a gradient of norm 1 at most; none where the gradient is not finite."""
    optimizer.zero_grad()
    loss.backward()
    # A task on which the inner loop diverges must not undo what the others taught.
    norm = torch.nn.utils.clip_grad_norm_(theta.values(), 1.0)
    if torch.isfinite(norm):
        optimizer.step()


def meta_train(
    tasks: Tasks,
    weights: MlpWeights,
    *,
    step_size: float,
    meta_step_size: float,
    shots: int,
    episodes: int,
    generator: torch.Generator,
    unit_rule: UnitRule = known_unit,
    order: Order = as_drawn,
    schedules: Sequence[Tensor] | None = None,
    tasks_per_episode: int = 32,
    points_asked: int = 64,
    progress: Callable[[int, float], None] | None = None,
) -> dict[str, Tensor]:
    """Second-order MAML, θ ← θ − β ∇_θ mean_i L_Ti(f_θi) (Finn et al. 2017, Eq. 2-3; Morphling, Algorithm 1).

    Each episode draws tasks, and points of each: the model adapts to the first K; all tasks of an episode are one
    batch (`vmap`). Ours are: the outer loss is the mean over the tasks where the papers have the sum, so that β does
    not depend on their number; it is on all points drawn, the K seen ones among them; its gradient is clipped to norm
    1; and the outer step is Adam's with cosine decay, as plain SGD needs many times the episodes (Finn et al. use Adam
    too).

    Args:
        tasks: the tasks to learn from.
        weights: starting point; left unchanged.
        step_size: α.
        meta_step_size: β, at the start; it decays to 0.
        shots: K.
        episodes: number of outer steps.
        generator: source of all random numbers.
        unit_rule: how the inner loop, which sees only K values, scales them; `unit_of` for searches.
        order: which of the points drawn are the first K; `as_searched` for searches.
        schedules: `[steps, shots]` masks, one of them drawn for each episode: which points each inner step
            sees. When left out, as in the paper: one step on all of them.
        tasks_per_episode: number of tasks in a batch.
        points_asked: number of points of each task besides the first K; the outer loss is on these and on the K.
        progress: called with the episode and its loss.
    """
    theta = {name: value.detach().clone().requires_grad_() for name, value in weights.items()}
    optimizer = torch.optim.Adam(theta.values(), lr=meta_step_size)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, episodes))
    masks = list(schedules) if schedules else [torch.ones(1, shots)]
    for episode in range(episodes):
        mask = masks[int(torch.randint(len(masks), (1,), generator=generator))].to(tasks.y.dtype)
        drawn = tasks.draw(tasks_per_episode, mask.shape[1] + points_asked, generator)
        loss = _episode_loss(theta, order(theta, *drawn, generator), mask, step_size, unit_rule)
        _outer_step(theta, loss, optimizer)
        decay.step()
        if progress is not None:
            progress(episode, loss.item())
    return {name: value.detach() for name, value in theta.items()}


def meta_train_for_search(
    tasks: Tasks,
    *,
    step_size: float,
    meta_step_size: float,
    shots: int,
    episodes: int,
    tasks_per_episode: int,
    generator: torch.Generator,
    progress: Callable[[int, float], None] | None = None,
) -> dict[str, Tensor]:
    """`meta_train` from random weights, where the inner loop is what Morphling's search does.

    Its k-th step sees the first k points, in about the order in which a search finds them and in the unit that it
    estimates; how many there are is drawn for each episode. Arguments are those of `meta_train`; `shots` is the most.
    """
    start = initial_weights(len(tasks.columns), generator)
    # With predictions near zero, the first estimates of the unit would be huge.
    start["b2"] = tasks.y.mean().reshape(1)
    # 1, 2, 3, 5, 7, 9, …: small numbers matter more and cost less to train on.
    counts = sorted({min(shots, k + k * k // 12) for k in range(1, shots + 1)})
    return meta_train(
        tasks, start, step_size=step_size, meta_step_size=meta_step_size, shots=shots, episodes=episodes,
        generator=generator, unit_rule=unit_of, order=as_searched, progress=progress,
        schedules=[torch.tril(torch.ones(k, k)) for k in counts], tasks_per_episode=tasks_per_episode,
    )  # fmt: skip

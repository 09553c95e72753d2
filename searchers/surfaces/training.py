"""Training of the surface network, together with the latents z of every task.

It is an auto-decoder (Park et al. 2019, "DeepSDF"): no encoder infers z from data; each training task has an e_t that
is optimised with the weights, z_t = m(facts_t) + e_t, by the loss

    L_t = Σ_roles mean((r − mean r)²) + cross-entropy(can run) + λ ‖e_t‖²,     r = f(x, z_t) − log quantity

over random points of random tasks. A task's mean residual is not penalised, as its level is its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from searchers.base import Task
from searchers.surfaces.belief import SurfaceModel
from searchers.surfaces.families import Families, latent_mean
from searchers.surfaces.net import initial_weights, surface
from searchers.surfaces.tasks import Kinds, Shelf, inputs_of, kinds, shelve, studied

_HIDDEN_MEAN = 32


@dataclass(frozen=True)
class Training:
    """Hyperparameters of the training. Values are our choice, by held-out synthetic services.

    Args:
        steps: number of Adam steps (Kingma & Ba 2015), with cosine decay of the step sizes to 0.
        step_size: initial step size of the weights.
        latent_step_size: initial step size of the tasks' own e, larger as a task is in few batches.
        latents: Z, the number of latents.
        prior: λ, the weight of ‖e_t‖².
        blur: standard deviation of noise on z in training, so that points near a task's z are plausible services too.
        tasks_per_step: number of tasks in a batch.
        points_per_task: number of points of each task in a batch.
        points: largest number of a task's observations that are kept for training.
    """

    steps: int = 4000
    step_size: float = 3e-3
    latent_step_size: float = 2e-2
    latents: int = 12
    prior: float = 1e-3
    blur: float = 0.1
    tasks_per_step: int = 192
    points_per_task: int = 20
    points: int = 128


def train(
    tasks: Sequence[Task],
    training: Training,
    seed: int,
    *,
    weights: np.ndarray | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> SurfaceModel:
    """Train a surface model on studied services; deterministic on one machine with one thread.

    Args:
        tasks: the services to learn from.
        training: the hyperparameters.
        seed: seed of all random numbers.
        weights: `[T]` how often each task is drawn, relative to the others; equally often when left out.
        progress: called with the step and its loss.
    """
    rows = [studied(task) for task in tasks]
    inputs = inputs_of(rows)
    shelf = shelve(rows, inputs, training.points, np.random.default_rng(seed))
    kind = kinds(shelf)
    weight = np.ones(len(tasks)) if weights is None else weights
    network, own = _fit(shelf, kind, weight, training, seed, progress)
    mean, covariance = _latent_moments(own, kind, weight)
    families = Families(kind.columns, kind.facts, kind.fact_mean, kind.fact_covariance, mean, covariance)
    return SurfaceModel(network, inputs, families)


def residual_loss(out: Tensor, log: Tensor, ran: Tensor) -> tuple[Tensor, Tensor]:
    """The first two terms of the loss.

    Args:
        out: `[…, p, R + 1]` outputs of the network at p points.
        log: `[…, p, R]` measured logarithms; NaN where nothing was measured.
        ran: `[…, p]` 1 if the configuration could run, else 0; NaN where there is no point.

    Returns:
        `[…, R]` variance of the residuals, 0 where a role has fewer than two points; `[…]` mean cross-entropy.
    """
    seen = ~torch.isnan(log)
    count = seen.sum(-2, keepdim=True)
    residual = torch.where(seen, out[..., :-1] - torch.nan_to_num(log), 0.0)
    residual = torch.where(seen, residual - residual.sum(-2, keepdim=True) / count.clamp(min=1), 0.0)
    variance = (residual**2).sum(-2) / (count.squeeze(-2) - 1).clamp(min=1)
    there = ~torch.isnan(ran)
    entropy = binary_cross_entropy_with_logits(out[..., -1], torch.nan_to_num(ran), reduction="none")
    return variance, torch.where(there, entropy, 0.0).sum(-1) / there.sum(-1).clamp(min=1)


def _fit(
    shelf: Shelf, kind: Kinds, weight: np.ndarray, training: Training, seed: int,
    progress: Callable[[int, float], None] | None,
) -> tuple[dict[str, Tensor], np.ndarray]:  # fmt: skip
    """Optimise and return the weights, and `[T, Z]` every task's e."""
    generator = torch.Generator().manual_seed(seed)
    x, log, ran = (torch.from_numpy(a) for a in (shelf.x, shelf.log, shelf.ran))
    u, family = (torch.from_numpy(a).float() for a in _facts_and_families(shelf, kind))
    counts = (~torch.isnan(ran)).sum(1)
    network = initial_weights(x.shape[-1], training.latents, generator)
    network |= _initial_mean(u.shape[1] + family.shape[1], training.latents, generator)
    for value in network.values():
        value.requires_grad_()
    own = torch.nn.Embedding.from_pretrained(
        0.1 * torch.randn(len(x), training.latents, generator=generator), freeze=False, sparse=True
    )
    optimizers = [
        torch.optim.Adam(network.values(), training.step_size),
        # Sparse: the e of a task that is not in the batch must not keep moving by its momentum.
        torch.optim.SparseAdam(list(own.parameters()), training.latent_step_size),
    ]
    decays = [torch.optim.lr_scheduler.CosineAnnealingLR(o, training.steps) for o in optimizers]
    drawn = torch.from_numpy(weight).double()
    for step in range(training.steps):
        task = torch.multinomial(drawn, training.tasks_per_step, replacement=True, generator=generator)
        point = torch.rand(len(task), training.points_per_task, generator=generator) * counts[task][:, None]
        at = (task[:, None], point.long())
        e = own(task)
        blur = training.blur * torch.randn(e.shape, generator=generator)
        out = surface(network, x[at], latent_mean(network, u[task], family[task]) + e + blur)
        variance, entropy = residual_loss(out, log[at], ran[at])
        measured = (variance > 0).sum().clamp(min=1)
        loss = variance.sum() / measured + entropy.mean() + training.prior * (e**2).sum(-1).mean()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.values(), 1.0)
        for optimizer, decay in zip(optimizers, decays, strict=True):
            optimizer.step()
            decay.step()
        if progress is not None:
            progress(step, loss.item())
    return {k: v.detach() for k, v in network.items()}, own.weight.detach().numpy().astype(float)


def _facts_and_families(shelf: Shelf, kind: Kinds) -> tuple[np.ndarray, np.ndarray]:
    """`[T, F]` facts, missing ones as their conditional mean in the family, and `[T, G]` one-hot families."""
    latents = np.zeros((len(kind.facts), 1))
    families = Families(
        kind.columns, kind.facts, kind.fact_mean, kind.fact_covariance, latents, np.zeros((len(latents), 1, 1))
    )
    nothing = np.zeros((1, shelf.u.shape[1]))
    u = np.concatenate([families.complete(row, g, nothing) for row, g in zip(shelf.u, kind.of, strict=True)])
    return u, np.eye(len(families))[kind.of]


def _initial_mean(inputs: int, latents: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Random weights of `latent_mean`, drawn like those of the network."""
    weights = {}
    for name, fan_in, fan_out in (("m0", inputs, _HIDDEN_MEAN), ("m1", _HIDDEN_MEAN, latents)):
        bound = fan_in**-0.5
        weights[name] = bound * (2 * torch.rand(fan_in, fan_out, generator=generator) - 1)
        weights[f"{name}.bias"] = bound * (2 * torch.rand(fan_out, generator=generator) - 1)
    return weights


def _latent_moments(own: np.ndarray, kind: Kinds, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """μ `[G, Z]` and Σ `[G, Z, Z]` of the tasks' own e in each family."""
    mean, covariance = [], []
    for g in range(len(kind.facts)):
        at = kind.of == g
        share = weight[at] / weight[at].sum()
        centre = share @ own[at]
        apart = own[at] - centre
        mean.append(centre)
        covariance.append((share[:, None] * apart).T @ apart)
    return np.stack(mean), np.stack(covariance)

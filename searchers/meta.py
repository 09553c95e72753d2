"""Our searcher: what other services taught, as a Gaussian belief; what this one measures conditions it exactly."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from searchers import kernel
from searchers.acquisition import chance_of_more, expected_improvement, near_best
from searchers.atlas import Atlas, atlas
from searchers.base import History, Observation, Problem
from searchers.gaussian import Gaussian, Posterior
from searchers.morphling import largest_free
from searchers.transfer import Evidence, belief, learn

_log = logging.getLogger(__name__)
RUNS = "can run"
SAMPLES = 256
NOISE = 0.03**2


@dataclass(frozen=True)
class Expert:
    """One opinion on where to look, with the samples that stand for it."""

    name: str
    weight: float
    beliefs: Mapping[str, Gaussian]
    base: Mapping[str, np.ndarray]


class Meta:
    def __init__(self, problem: Problem, *, tolerance: float = 0.05, samples: int = SAMPLES, acq: str = "near", shipped=True, gw=0.2) -> None:
        self._problem = problem
        self._tolerance, self._samples, self._acq = tolerance, samples, acq
        self._quantities = sorted((problem.objective.goal.names | set(problem.objective.limited)) - {"usd_per_hour"})
        grid = atlas(problem.space, problem.sources)
        self._experts = [self._expert("generic", gw, {q: _generic(grid, q) for q in (*self._quantities, RUNS)})]
        if shipped:
            sh = _shipped(problem, grid, self._quantities)
            if sh:
                self._experts.append(self._expert("shipped", 0.6, sh))
        if problem.sources:
            self._experts.append(self._expert("sources", 0.8, _from_sources(problem, grid, self._quantities)))

    def _expert(self, name: str, weight: float, beliefs: Mapping[str, Gaussian]) -> Expert:
        rng = np.random.default_rng(0)
        n = len(self._problem.space)
        base = {q: rng.standard_normal((self._samples, n)) @ g.root.T for q, g in beliefs.items()}
        return Expert(name, weight, beliefs, base)

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        if len(history.taken) >= len(self._problem.space):
            return None
        values = self.values(history)
        best = max((self._problem.value(o) or 0.0 for o in history.observed), default=0.0)
        ei = expected_improvement(values, best)
        if self._acq == "near":
            score = near_best(values, best, self._tolerance) + 0.01 * ei
        elif self._acq == "ei":
            score = ei
        else:
            top = np.maximum(values.max(1, keepdims=True), 1e-300)
            frac = (np.maximum(values - best, 0) / top).mean(0)
            score = frac if self._acq == "frac" else frac + near_best(values, best, self._tolerance)
        return largest_free(score, history, rng)

    def weights(self, history: History):
        out = []
        for e in self._experts:
            post = self._posteriors(e, history)
            out.append((np.log(e.weight) + sum(p.log_density for p in post.values()), post))
        logs = np.array([o[0] for o in out])
        w = np.exp(logs - logs.max())
        return w / w.sum(), [o[1] for o in out]

    def values(self, history: History) -> np.ndarray:
        """`[S, n]` samples of every configuration's value."""
        w, posts = self.weights(history)
        counts = np.floor(w * self._samples + 0.5).astype(int)
        parts = []
        rng = np.random.default_rng(1)
        for e, post, count in zip(self._experts, posts, counts, strict=True):
            if count == 0:
                continue
            drawn = {q: p.samples(e.base[q][:count], rng.standard_normal((count, len(p.at)))) for q, p in post.items()}
            metrics = {q: np.exp(np.clip(drawn[q], -60, 60)) for q in self._quantities}
            v = self._problem.objective.values(metrics, self._problem.usd_per_hour)
            parts.append(np.where(drawn[RUNS] > 0, v, 0.0))
        return np.vstack(parts)

    def _posteriors(self, e: Expert, history: History) -> dict[str, Posterior]:
        out = {}
        for q, g in e.beliefs.items():
            at, y = measured(history.observed, q)
            out[q] = g.given(at, y)
        return out


def measured(observed, q: str) -> tuple[np.ndarray, np.ndarray]:
    sums: dict[int, list[float]] = {}
    for o in observed:
        if q == RUNS:
            sums.setdefault(o.position, []).append(1.0 if o.metrics is not None else -1.0)
        elif o.metrics is not None and (m := o.metrics.get(q)) is not None and np.isfinite(m) and m > 0:
            sums.setdefault(o.position, []).append(float(np.log(m)))
    return np.array(list(sums), dtype=int), np.array([np.mean(v) for v in sums.values()])


def _generic(grid: Atlas, q: str) -> Gaussian:
    scales = kernel.generic(grid.axes)
    if q == RUNS:
        scales = kernel.Scales(0.5, 0.7, 0.5, 0.1, scales.lengths, scales.alike)
    else:
        scales = kernel.Scales(6.0, scales.main, scales.joint, scales.own, scales.lengths, scales.alike)
    ranks = grid.ranks[: grid.n]
    cov = kernel.covariance(grid.axes, ranks, ranks, scales)
    cov[np.diag_indices_from(cov)] += scales.own**2
    return Gaussian(np.full(grid.n, 0.8 if q == RUNS else 3.0), cov, NOISE)


RES = dict(main=0.5, joint=0.4, own=0.05, infl=1.5)


def _shipped(problem, grid, quantities):
    from searchers.quantities import role
    from searchers.surfaces import pretrained
    sur = pretrained().sample(problem.space, problem.facts, 128, np.random.default_rng(0))
    if not sur.known:
        return None
    ranks = grid.ranks[: grid.n]
    g = kernel.generic(grid.axes)
    out = {}
    for q in (*quantities, RUNS):
        if q == RUNS:
            y = np.tanh(sur.runs / 2)
            sc = kernel.Scales(0.2, 0.4, 0.4, 0.1, g.lengths, g.alike)
            mean = y.mean(0)
        else:
            y = sur.log[role(q)]
            sc = kernel.Scales(6.0, RES["main"], RES["joint"], RES["own"], g.lengths, g.alike)
            mean = 3.0 + y.mean(0)
        r = y - y.mean(0)
        cov = RES["infl"] * r.T @ r / len(r) + kernel.covariance(grid.axes, ranks, ranks, sc)
        cov[np.diag_indices_from(cov)] += sc.own**2
        out[q] = Gaussian(mean, cov, NOISE)
    return out


_CACHE: dict = {}


def _facts(problem):
    names = sorted({f for t in problem.sources for f in t.facts})
    rows = [t.facts for t in problem.sources] + [problem.facts]
    raw = np.array([[np.log(r[f]) if r.get(f, 0) > 0 else np.nan for f in names] for r in rows]).reshape(len(rows), len(names))
    if not names:
        return raw[:-1], raw[-1]
    mean, sd = np.nanmean(raw[:-1], 0), np.nanstd(raw[:-1], 0)
    z = np.nan_to_num((raw - mean) / np.where(sd > 1e-9, sd, np.inf))
    return z[:-1], z[-1]


def _evidence(grid, problem, q, facts):
    out = []
    for t, rows, f in zip(problem.sources, grid.rows, facts, strict=True):
        at, y = measured([Observation(int(r), o.metrics) for r, o in zip(rows, t.observed, strict=True)], q)
        if len(at):
            out.append(Evidence(at, y, f, t.group))
    return out


def _from_sources(problem: Problem, grid: Atlas, quantities) -> dict[str, Gaussian]:
    facts, own = _facts(problem)
    out = {}
    for q in (*quantities, RUNS):
        key = (problem.sources, q)
        if key not in _CACHE:
            alone = atlas(problem.sources[0].space, problem.sources)
            ev = _evidence(alone, problem, q, facts)
            _CACHE[key] = learn(alone, ev, NOISE) if ev else None
        ev = _evidence(grid, problem, q, facts)
        out[q] = belief(grid, ev, _CACHE[key], own, NOISE) if ev else _generic(grid, q)
    return out

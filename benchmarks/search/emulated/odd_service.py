"""The formulas of emulated services: three stages in a row, each faster or slower by every knob. All of them are ours.

Notation:
    n, J, S   configurations, knobs, stages
    u         `[n, J]` place of each value among its knob's, from 0 to 1
    c_s(x)    requests/s that stage s could do alone; log c_s = a_s + sum_j e_sj(u_j) + sum_ij w_sij u_i u_j
    e_sj      the effect of knob j on stage s: it saturates, has a best place or is a step, or there is none

    rps = (sum_s c_s^-P)^(-1/P)                     the slowest stage counts most
    p99_ms ~ sum_s 1 / c_s * (1 + Q u_q^2)          the knob q that lets requests wait for one another
    a configuration runs if sum_j m_j u_j is at most what the memory holds
    usd_per_hour = sum_j p_j u_j + the least price  for the knobs that cost something

They have nothing of the roofline from which the shipped surfaces were learned (`searchers/surfaces`): no batch, no
core, no GPU, no cap. The values of an alternative have an order here, which no searcher sees. Kinds and places of the
effects belong to the suite, their sizes to the model and, less, to the workload.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

STAGES = 3
SHARPNESS = 4.0
"""P of the formula above. Our choice: with two equal stages, 0.84 of what each could do."""
WAITING = 8.0
"""Q of the formula above. Our choice."""
RUNS = 0.85
"""Share of the configurations for which the memory is large enough. Our choice."""
CHEAPEST_USD = 0.5
"""The least price of a configuration, USD an hour. Our choice."""
KINDS = ("saturates", "place", "step", "none")


@dataclass(frozen=True, eq=False)
class OddService:
    """The constants of one service in the notation of this module.

    Args:
        kinds: `[S, J]` which of `KINDS` each effect is.
        heights: `[S, J]` size of each effect, in e-folds; of either sign.
        places: `[S, J]` where an effect saturates, is best or steps.
        pairs: `[S, J, J]` w, mostly 0.
        levels: `[S]` a.
        memory: `[J]` m.
        prices: `[J]` p in USD an hour; 0 for most knobs.
        waits: q, the knob that lets requests wait.
    """

    kinds: np.ndarray
    heights: np.ndarray
    places: np.ndarray
    pairs: np.ndarray
    levels: np.ndarray
    memory: np.ndarray
    prices: np.ndarray
    waits: int

    def varied(self, rng: np.random.Generator, by: float) -> OddService:
        """Another model (`by` about 0.5) or workload (about 0.15) of the same software: other sizes, the same kinds."""
        return replace(
            self,
            heights=self.heights * np.exp(by * rng.standard_normal(self.heights.shape)),
            places=np.clip(self.places + 0.3 * by * rng.standard_normal(self.places.shape), 0.05, 0.95),
            levels=self.levels + 1.5 * by * rng.standard_normal(self.levels.shape),
            memory=self.memory * np.exp(by * rng.standard_normal(self.memory.shape)),
        )

    def stages(self, u: np.ndarray) -> np.ndarray:
        """`[n, S]` requests/s of each stage alone."""
        effects = np.stack([self._effect(u, stage).sum(axis=1) for stage in range(STAGES)], axis=1)
        together = np.einsum("ni,sij,nj->ns", u, self.pairs, u, optimize=True)
        return np.exp(self.levels + effects + together)

    def _effect(self, u: np.ndarray, stage: int) -> np.ndarray:
        kind, place = self.kinds[stage], self.places[stage]
        shapes = np.stack([
            1 - np.exp(-3 * u / place),
            1 - ((u - place) / np.maximum(place, 1 - place)) ** 2,
            (u >= place).astype(float),
            np.zeros_like(u),
        ])  # fmt: skip
        return self.heights[stage] * np.take_along_axis(shapes, kind[None, None, :].repeat(len(u), 1), axis=0)[0]

    def measured(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """`[n]` requests/s, seconds of a request in an arbitrary unit, USD an hour, and whether it runs."""
        stages = self.stages(u)
        rps = (stages**-SHARPNESS).sum(axis=1) ** (-1 / SHARPNESS)
        waiting = u[:, self.waits]
        latency = (1 / stages).sum(axis=1) * (1 + WAITING * waiting**2)
        needed = u @ self.memory
        return rps, latency, CHEAPEST_USD + u @ self.prices, needed <= np.quantile(needed, RUNS)


def odd_service(knobs: int, rng: np.random.Generator) -> OddService:
    """Software with so many knobs: most of them matter to one stage or two, and a few cost something."""
    kinds = rng.choice(len(KINDS), (STAGES, knobs), p=(0.3, 0.25, 0.15, 0.3))
    signs = np.where(rng.random((STAGES, knobs)) < 0.7, 1.0, -1.0)
    pairs = rng.normal(0, 0.3, (STAGES, knobs, knobs)) * (rng.random((STAGES, knobs, knobs)) < 0.1)
    prices = rng.uniform(0.1, 0.5, knobs) * (rng.random(knobs) < 0.4)
    waits = int(rng.integers(knobs))
    heights = signs * rng.uniform(0.05, 0.5, (STAGES, knobs))
    heights[:, waits], kinds[:, waits] = 0.3 + np.abs(heights[:, waits]), 0  # waiting pays, until it is too long
    return OddService(
        kinds, heights, rng.uniform(0.1, 0.9, (STAGES, knobs)), pairs, rng.normal(4.0, 0.5, STAGES),
        rng.exponential(1.0, knobs), prices, waits,
    )  # fmt: skip

"""What emulated services are said to have given: metrics that go together, and nothing where an option is refused."""

from dataclasses import replace

import numpy as np
import pytest

from raytune_infer.priors import emulated_services
from raytune_infer.priors.emulated_parts import UNKNOWN_KNOB, Option, random_software
from raytune_infer.priors.emulated_services import random_batch_inference, random_generation
from searchers.base import Task

NOISE = 0.05
"""The most that a service's measurements scatter, as the standard deviation of their logarithm."""


def ran(task: Task) -> list[dict[str, float]]:
    return [dict(o.metrics) for o in task.observed if o.metrics is not None]


@pytest.mark.parametrize("seed", range(5))
def test_a_request_takes_its_first_token_and_all_further_ones(seed):
    task = random_generation(np.random.default_rng(seed), 60)
    further = task.facts["output_tokens"]
    off = [np.log((m["ttft_ms"] + further * m["tpot_ms"]) / m["p99_ms"]) for m in ran(task)]
    assert abs(np.median(off)) < NOISE and np.abs(off).max() < 6 * NOISE


@pytest.mark.parametrize("seed", range(5))
def test_a_request_waits_for_one_batch_and_is_in_the_next(seed):
    """One batch after another: the slowest has come just after one began. A batch is of as many as the knob says."""
    task = random_batch_inference(np.random.default_rng(seed), 60)
    batches = [m["rps"] * m["p99_ms"] / 1e3 / 2 for m in ran(task)]
    assert min(batches) > np.exp(-6 * NOISE)
    sizes = {config["max_batch_size"] for config in _configs(task)} if "max_batch_size" in _knobs(task) else None
    if sizes is not None:
        nearest = [min(sizes, key=lambda size: abs(np.log(batch / size))) for batch in batches]
        assert np.abs(np.log(np.array(batches) / np.array(nearest))).max() < 6 * NOISE


@pytest.mark.parametrize("family", [random_generation, random_batch_inference])
def test_what_a_card_refuses_does_not_run_on_it(family, monkeypatch):
    def refusing(rng, cards, overhead_s):
        software, unknown = random_software(rng, cards, overhead_s)
        if not unknown:
            return software, unknown
        first, *others = unknown[0].values
        options = {str(name): Option() for name in others} | {str(first): Option(refused=frozenset(cards))}
        return replace(software, options=options), unknown

    monkeypatch.setattr(emulated_services, "random_software", refusing)
    tried = 0
    for seed in range(12):
        task = family(np.random.default_rng(seed), 60)
        for o in task.observed:
            config = task.space[o.position]
            on_card = config.get("gpu_type", "none") != "none"
            if config.get(UNKNOWN_KNOB) == "v0" and on_card:
                tried += 1
                assert o.metrics is None
    assert tried > 10


def _knobs(task: Task) -> set[str]:
    return {knob.name for knob in task.space.knobs}


def _configs(task: Task) -> list:
    return [task.space[o.position] for o in task.observed]

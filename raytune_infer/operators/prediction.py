"""The time of a batch in each configuration of a space, by adding up the curves of a model's operators.

    T(b, r) = k * sum_i n_i t_i(b, r) + rest(b, r)

with n_i calls of operator i in a batch of b payloads and t_i its curve at the resources r (cores, precision, GPU). The
profile has measured whole batches at resources r0: what the sum lacks there is the rest (tokenizers, Python, operators
without a curve), alpha + beta b by non-negative least squares; where the sum is more than the whole, as operators find
their inputs in the caches, k < 1 corrects it. Away from r0 the part of the rest that is operators without a curve
follows the others, and what is outside of operators stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from cluster.operators.curves.lookup import Curves, Estimate
from cluster.operators.curves.point import Resources
from cluster.operators.scaling import OperatorClass
from raytune_infer.operators.profiling import ServiceProfile
from raytune_infer.spec.standard_knobs import NO_GPU, gpu_name
from searchers.base import ExpectedMetrics
from searchers.space import Value
from serve_deployments.measuring.predicting.batch_queue import BatchQueue

_UNKNOWN_PART = 0.5
"""Relative error of what follows other operators because it has no curve. Our choice."""
_MODEL = 0.3
"""Relative error of the sum itself: that operators in a model take as long as by themselves. About the largest of the
errors of `python -m benchmarks operators` (2026-11-30, four models, one core)."""


@dataclass(frozen=True)
class Predicted:
    """What is expected of a batch in one configuration.

    Args:
        batch: its payloads.
        seconds: time of a full batch.
        low_s: lower end of its 95 % interval.
        high_s: upper end.
        covered: part of the time that comes from curves of the operators themselves.
        own_error: half of the interval, as a part of the time, without what all predictions of a model share.
    """

    batch: int
    seconds: float
    low_s: float
    high_s: float
    covered: float
    own_error: float = 0.0

    @property
    def rate_rps(self) -> float:
        """Payloads per second where full batches follow one another."""
        return self.batch / self.seconds

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of a replica under full load: its rate, and the time of a request that waits for one batch."""
        return {"rps": self.rate_rps, "p50_ms": 2e3 * self.seconds}


class NoPrediction(ValueError):
    """Nothing can be predicted of a model; the message says why."""


class Predictor:
    """Predicts batches of one model from its profile and the curves of its operators.

    Args:
        profile: the model's profile.
        curves: points of operators, of this model's or of others'.

    Raises:
        NoPrediction: the model has no operators whose shapes follow the batch, or no curve knows any of them.
    """

    def __init__(self, profile: ServiceProfile, curves: Curves) -> None:
        if not profile.classes:
            raise NoPrediction(f"nothing is known of how the operators of {profile.name} follow its batch")
        self._profile, self._curves = profile, curves
        self.reference = resources_of(profile.config, profile)
        batches = sorted(profile.batch_s)
        whole = np.array([profile.batch_s[batch] for batch in batches])
        sums = np.array([self._sum(_at(self.reference, batch))[0] for batch in batches])
        if not sums.all():
            raise NoPrediction(
                f"no curve knows the operators of {profile.name} at {self.reference.precision} on "
                f"{self.reference.cpu_cores} cores; measure them with `raytune-infer operators SERVICE_YAML --curves`"
            )
        self._scale = min(1.0, float(np.exp(np.mean(np.log(whole / sums)))))
        rest = np.maximum(whole - self._scale * sums, 0.0)
        columns = np.stack([np.ones(len(batches)), np.array(batches, dtype=float)], 1) / whole[:, None]
        self._rest, _ = nnls(columns, rest / whole)
        self._following = self._part_without_curve()

    def predict(self, resources: Resources) -> Predicted | None:
        """Returns what is expected with these resources; None if no curve has them."""
        total, error, covered = self._sum(resources)
        there, _, _ = self._sum(_at(self.reference, resources.batch))
        if not total or not there:
            return None
        rest = float(self._rest[0] + self._rest[1] * resources.batch)
        following = rest * self._following
        moved = following * total / there
        operators = self._scale * total
        seconds = operators + rest - following + moved
        own = math.hypot(self._scale * error, _UNKNOWN_PART * moved) / seconds
        spread = math.hypot(own, _MODEL * operators / seconds)
        low_s, high_s = seconds / (1 + spread), seconds * (1 + spread)
        return Predicted(resources.batch, seconds, low_s, high_s, self._scale * covered / seconds, own)

    def queue(self, resources: Resources, *, wait_s: float = 0.0) -> BatchQueue | None:
        """Returns a queue of batches of up to so many payloads, from which latencies at any rate are simulated.

        Args:
            resources: the resources, with the largest batch.
            wait_s: how long an incomplete batch waits for more requests.
        """
        means = [self.predict(_at(resources, batch)) for batch in range(1, resources.batch + 1)]
        seconds = [each.seconds for each in means if each is not None]
        if len(seconds) < resources.batch:
            return None
        return BatchQueue(np.array(seconds), np.ones(1), wait_s)

    def _sum(self, resources: Resources) -> tuple[float, float, float]:
        """Seconds of all calls that anything is known of, their error, and the seconds of those with own curves."""
        total = squares = covered = 0.0
        for operator, use in self._profile.classes.items():
            found = self._known(operator, resources)
            if found is not None:
                seconds = use.calls * found.seconds
                total += seconds
                squares += (seconds * found.error) ** 2
                covered += seconds if found.how != "similar" else 0.0
        return total, math.sqrt(squares), covered

    def _known(self, operator: OperatorClass, resources: Resources) -> Estimate | None:
        """The time of a call; None as well if nothing is known of it at the reference, so that sums are of the same."""
        if self._curves.time(operator, _at(self.reference, resources.batch)) is None:
            return None
        return self._curves.time(operator, resources)

    def _part_without_curve(self) -> float:
        """The part of the rest that is operators no curve knows, by the profile."""
        profile = self._profile.profile
        known = sum(
            use.time_s
            for operator, use in self._profile.classes.items()
            if self._curves.time(operator, self.reference) is not None
        )
        used = sum(use.time_s for use in self._profile.classes.values())
        outside = sum(line.time_s for line in profile.lines if not line.is_operator)
        unknown = max(0.0, used - known)
        return unknown / (unknown + outside) if unknown + outside else 0.0


def resources_of(config: Mapping[str, Value], profile: ServiceProfile) -> Resources:
    """Returns the resources of a configuration; what it does not say is as it was when the model was profiled."""
    context = profile.place.context
    cores = int(config.get("cpu_cores", context.cpu_cores))
    gpu = gpu_name(config.get("gpu_type", NO_GPU))
    return Resources(
        int(config.get("max_batch_size", profile.batch)), str(config.get("precision", context.precision)), cores,
        int(config.get("threads", cores)), gpu, float(config.get("gpu_share", 0.0)) if gpu else 0.0,
        float(config.get("gpu_memory", 0.0)) if gpu else 0.0,
    )  # fmt: skip


def predict_all(
    predictor: Predictor, configs: Sequence[Mapping[str, Value]], profile: ServiceProfile
) -> list[Predicted | None]:
    """Returns what is expected in each configuration, in their order; None where no curve has its resources."""
    return [predictor.predict(resources_of(config, profile)) for config in configs]


def _at(resources: Resources, batch: int) -> Resources:
    return Resources(
        batch, resources.precision, resources.cpu_cores, resources.threads, resources.gpu_type, resources.gpu_share,
        resources.gpu_memory,
    )  # fmt: skip


def expected_metrics(
    predictor: Predictor, configs: Sequence[Mapping[str, Value]], profile: ServiceProfile
) -> ExpectedMetrics:
    """Returns what is expected of the rate in each configuration, for a searcher.

    A server, its queue and its clients take the same part of all configurations, about which curves say nothing: so the
    level is left open, and only the differences between configurations are told. A configuration of which nothing is
    predicted has the middle of the others, with a deviation as large as their spread.

    Args:
        predictor: predicts batches.
        configs: the configurations of the space, in its order.
        profile: the model's profile.

    Raises:
        NoPrediction: nothing is predicted of any of them.
    """
    found = predict_all(predictor, configs, profile)
    known = np.array([math.log(each.rate_rps) for each in found if each is not None])
    if not known.size:
        raise NoPrediction(f"no curve has the resources of any configuration of {profile.name}")
    middle, spread = float(np.median(known)), max(float(known.std()), _UNKNOWN_PART)
    mean = np.array([middle if each is None else math.log(each.rate_rps) for each in found])
    std = np.array([spread if each is None else math.log(each.high_s / each.seconds) / 1.96 for each in found])
    return ExpectedMetrics("operators", {"rps": mean}, {"rps": std})

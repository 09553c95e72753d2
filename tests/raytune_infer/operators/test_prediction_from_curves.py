"""Predictions against a device whose law is known: sums, rests, precisions, and models without curves of their own."""

import math
from dataclasses import replace

import numpy as np
import pytest

from cluster.operators.curves.lookup import Curves
from cluster.operators.curves.point import CallTime, Point, Resources
from cluster.operators.profile import profile_of
from cluster.operators.trace import Trace
from raytune_infer.operators.built_model import Place
from raytune_infer.operators.knob_effects import knob_effects
from raytune_infer.operators.prediction import (
    NoPrediction,
    Predictor,
    expected_metrics,
    predict_all,
    resources_of,
)
from raytune_infer.operators.profiling import ClassUse, ServiceProfile
from searchers.space import Config
from serve_deployments.models.context import ModelContext
from tests.cluster.operators.curves.test_operator_benchmark import dense

LARGE, SMALL = dense(512), dense(64)
BATCHES = (1, 2, 4, 8, 16)


def law(operator, resources):
    """Seconds of a call: cores help large batches, bfloat16 halves it."""
    units = min(resources.cpu_cores, resources.batch)
    return (1e-3 + 1e-6 * operator.work(resources.batch, "float32").flops / units) / (
        2 if resources.precision == "bfloat16" else 1
    )


def whole(resources, outside_s=0.0):
    return 3 * law(LARGE, resources) + 5 * law(SMALL, resources) + outside_s


def curves(operators=(LARGE, SMALL), error=0.01, precisions=("float32", "bfloat16")):
    every = [Resources(b, p, c, c) for b in BATCHES for p in precisions for c in (1, 2)]
    return Curves(
        Point(operator, r, CallTime(t := law(operator, r), t * (1 - error), t * (1 + error), 9), "cpu", "torch")
        for operator in operators
        for r in every
    )


def profile(outside_s=0.0, each_s=0.0, **changed):
    batch_s = {b: whole(Resources(b), outside_s + each_s * b) for b in (1, 4, 8)}
    trace = Trace(8, (), batch_s[8], outside_s=outside_s + each_s * 8)
    classes = {
        LARGE: ClassUse(3, 3 * law(LARGE, Resources(8))), SMALL: ClassUse(5, 5 * law(SMALL, Resources(8))),
    }  # fmt: skip
    config: Config = {"max_batch_size": 8, "precision": "float32", "cpu_cores": 1}
    place = Place(ModelContext())
    found = ServiceProfile("m", config, 8, place, profile_of(trace, batch_s[8]), None, batch_s, classes)
    return replace(found, **changed)


@pytest.mark.parametrize("resources", [Resources(2), Resources(16, "bfloat16"), Resources(8, "bfloat16", 2, 2)])
def test_operators_are_added_up(resources):
    found = Predictor(profile(), curves()).predict(resources)
    assert found is not None and found.seconds == pytest.approx(whole(resources), rel=1e-6)
    assert found.rate_rps == pytest.approx(resources.batch / whole(resources)) and found.covered == pytest.approx(1)
    assert found.low_s < found.seconds < found.high_s


def test_time_outside_of_operators_follows_the_batch_but_no_other_resource():
    predictor = Predictor(profile(outside_s=0.02, each_s=0.005), curves())
    for resources in (Resources(2), Resources(16, "bfloat16", 2, 2)):
        found = predictor.predict(resources)
        assert found is not None
        assert found.seconds == pytest.approx(whole(resources, 0.02 + 0.005 * resources.batch), rel=1e-3)


def test_an_operator_without_a_curve_of_its_own_is_like_similar_ones_and_less_sure():
    own, similar = (Predictor(profile(), each) for each in (curves(), curves((SMALL, dense(100), dense(1000)))))
    exact, guessed = own.predict(Resources(16, "bfloat16")), similar.predict(Resources(16, "bfloat16"))
    assert exact is not None and guessed is not None
    assert guessed.seconds == pytest.approx(exact.seconds, rel=0.5)
    assert guessed.high_s / guessed.seconds > exact.high_s / exact.seconds and guessed.covered < 1


def test_what_no_curve_knows_follows_the_others_with_its_uncertainty():
    relu = replace(LARGE, name="aten::relu", kind="relu")
    of_relu = {relu: ClassUse(1, 0.05), **profile().classes}
    slower = {b: t + 0.05 * b / 8 for b, t in profile().batch_s.items()}
    found = Predictor(profile(classes=of_relu, batch_s=slower), curves()).predict(Resources(8, "bfloat16"))
    assert found is not None
    assert found.seconds == pytest.approx(whole(Resources(8, "bfloat16")) + 0.05 / 2, rel=0.05)


def test_sums_that_are_more_than_the_whole_are_corrected():
    hot = {b: 0.7 * t for b, t in profile().batch_s.items()}
    found = Predictor(profile(batch_s=hot), curves()).predict(Resources(16))
    assert found is not None and found.seconds == pytest.approx(0.7 * whole(Resources(16)), rel=1e-6)


def test_no_prediction_without_curves_or_classes_and_none_beyond_their_resources():
    with pytest.raises(NoPrediction, match="no curve knows the operators of m"):
        Predictor(profile(), Curves())
    with pytest.raises(NoPrediction, match="follow its batch"):
        Predictor(profile(classes={}), curves())
    assert Predictor(profile(), curves()).predict(Resources(8, "float16")) is None


def test_a_queue_of_predicted_batches_has_their_latency():
    predictor = Predictor(profile(), curves())
    queue = predictor.queue(Resources(4))
    assert queue is not None
    alone = queue.latencies_s(np.array([[0.0, 1000.0]]), np.zeros(1, dtype=int))
    first = predictor.predict(Resources(1))
    assert first is not None and alone == pytest.approx(np.full((1, 2), first.seconds))


SPACE: list[Config] = [{"max_batch_size": b, "precision": p, "cpu_cores": 1, "batch_wait_ms": w}
         for b in (4, 8) for p in ("float32", "bfloat16") for w in (0, 5)]  # fmt: skip


def test_the_effect_of_a_knob_is_by_hand():
    predictor = Predictor(profile(), curves())
    effects = {each.knob: each for each in knob_effects(predictor, profile(), SPACE, noise=0.1)}
    assert effects["precision"].effect == pytest.approx(1.0) and effects["precision"].best == "bfloat16"
    assert not effects["precision"].droppable and effects["precision"].low < 1 < effects["precision"].high
    # Nothing is known of a knob that operators do not see, so it stays.
    assert effects["batch_wait_ms"].effect is None and not effects["batch_wait_ms"].droppable
    assert "cpu_cores" not in effects  # it has one value


def test_a_knob_within_noise_can_be_dropped_and_one_that_is_not_known_well_cannot():
    def same(error):
        points = curves(error=error).points
        level = [replace(p, time=CallTime(1.0, 1 - error, 1 + error, 9)) for p in points]
        sure = profile(batch_s={b: 8.0 for b in (1, 4, 8)})
        return {e.knob: e for e in knob_effects(Predictor(sure, Curves(level)), sure, SPACE, noise=0.1)}

    assert same(0.01)["precision"].droppable and same(0.01)["precision"].effect == pytest.approx(0)
    assert not same(0.3)["precision"].droppable


def test_predictions_of_a_space_are_in_its_order():
    found = predict_all(Predictor(profile(), curves()), SPACE, profile())
    assert [each is not None and math.isfinite(each.rate_rps) for each in found] == [True] * len(SPACE)
    assert resources_of({"gpu_type": "none"}, profile()) == Resources(8)


def test_a_searcher_is_told_the_rates_and_nothing_of_what_is_not_known():
    configs: list[Config] = [*SPACE, {**SPACE[0], "precision": "float16"}]
    found = expected_metrics(Predictor(profile(), curves()), configs, profile())
    rates = [math.log(each["max_batch_size"] / whole(resources_of(each, profile()))) for each in SPACE]
    assert found.log_mean["rps"][:-1] == pytest.approx(rates) and not found.level_std
    assert found.log_mean["rps"][-1] == pytest.approx(np.median(rates))
    assert found.log_std["rps"][-1] > 2 * found.log_std["rps"][:-1].max()
    with pytest.raises(NoPrediction, match="any configuration"):
        expected_metrics(Predictor(profile(), curves()), [configs[-1]], profile())

"""What points say of calls, against a device whose times are known."""

import pytest

from cluster.operators.curves.lookup import Curves
from cluster.operators.curves.point import CallTime, Point, Resources
from cluster.operators.scaling import OperatorClass
from tests.cluster.operators.curves.test_operator_benchmark import dense


def point(operator, batch, seconds, error=0.02, **resources):
    time = CallTime(seconds, seconds * (1 - error), seconds * (1 + error), 9)
    return Point(operator, Resources(batch, **resources), time, "cpu", "torch")


def test_a_measured_point_is_as_measured():
    found = Curves([point(dense(), 4, 0.5)]).time(dense(), Resources(4))
    assert found is not None and (found.seconds, found.how) == (0.5, "measured")
    assert found.error == pytest.approx(0.02)


def test_the_later_of_two_measurements_counts():
    found = Curves([point(dense(), 4, 0.5), point(dense(), 4, 0.4)]).time(dense(), Resources(4))
    assert found is not None and found.seconds == 0.4


def test_between_batches_powers_are_exact_and_the_error_is_larger():
    curves = Curves([point(dense(), batch, 0.01 * batch**0.8) for batch in (1, 4, 64)])
    found = curves.time(dense(), Resources(16))
    assert found is not None and found.seconds == pytest.approx(0.01 * 16**0.8)
    assert found.how == "interpolated" and found.error > 0.02


def test_beyond_the_last_batch_the_error_grows_with_the_distance():
    curves = Curves([point(dense(), batch, 0.01 * batch) for batch in (1, 8)])
    near, far = (curves.time(dense(), Resources(batch)) for batch in (16, 128))
    assert near is not None and far is not None and near.how == far.how == "extrapolated"
    assert far.seconds == pytest.approx(1.28) and far.error > near.error


def test_an_unseen_operator_is_in_proportion_to_similar_ones():
    widths = (64, 128, 512, 1024, 4096)
    curves = Curves([point(dense(width), 8, 1e-9 * dense(width).work(8, "float32").flops) for width in widths])
    found = curves.time(dense(256), Resources(8))
    assert found is not None and found.how == "similar"
    assert found.seconds == pytest.approx(1e-9 * dense(256).work(8, "float32").flops, rel=0.3)
    assert found.error < 1


def test_few_similar_points_are_known_to_a_factor_of_two():
    found = Curves([point(dense(64), 8, 1.0)]).time(dense(128), Resources(8))
    assert found is not None and found.error == 1.0


@pytest.mark.parametrize("other", [{"precision": "bfloat16"}, {"cpu_cores": 2}, {"threads": 2},
                                   {"gpu_type": "T4"}, {"gpu_type": "T4", "gpu_share": 0.5}])  # fmt: skip
def test_other_resources_say_nothing(other):
    curves = Curves([point(dense(), 8, 1.0), point(dense(), 16, 2.0)])
    assert curves.time(dense(), Resources(8, **other)) is None


def test_another_kind_says_nothing():
    relu = OperatorClass("aten::relu", "relu", dense().parts[:1])
    assert Curves([point(dense(), 8, 1.0)]).time(relu, Resources(8)) is None

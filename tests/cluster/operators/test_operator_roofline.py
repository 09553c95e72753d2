"""Rooflines: worked out by hand, and one measured in a time that is told."""

import itertools

import pytest

from cluster.catalogue import CATALOGUE
from cluster.operators.roofline import Roofline, gpu_roofline, measured_roofline

ROOF = Roofline("device", {"float32": 100e9, "bfloat16": 400e9}, 10e9, "by hand")


def test_left_of_the_ridge_memory_is_the_limit_and_right_of_it_compute():
    assert (ROOF.ridge("float32"), ROOF.ridge("bfloat16"), ROOF.ridge("int8")) == (10, 40, 10)
    assert (ROOF.bound(9, "float32"), ROOF.bound(10, "float32")) == ("memory", "compute")
    assert (ROOF.attainable(2, "float32"), ROOF.attainable(50, "float32")) == (20e9, 100e9)


def test_the_least_time_is_that_of_the_slower_of_both():
    assert ROOF.least_s(1e9, 1e9, "float32") == 0.1
    assert ROOF.least_s(100e9, 1e9, "float32") == 1.0


def test_a_gpu_has_its_datasheet():
    [t4] = [gpu for gpu in CATALOGUE if gpu.name == "T4"]
    assert gpu_roofline(t4).ridge("float32") == pytest.approx(8.1e12 / 320e9)


def test_a_cpu_is_measured():
    ticks = itertools.count(0, 0.5)  # so that each run takes half a second
    found = measured_roofline("cpu", clock=lambda: next(ticks))
    assert found.peak("float32") == found.peak("bfloat16") == 2 * 768**3 / 0.5
    assert found.bandwidth_bytes_s == 2 * 2**28 / 0.5
    assert found.device.startswith("cpu, ")


@pytest.mark.parametrize("peaks", [{}, {"bfloat16": 1.0}, {"float32": 0.0}, {"float32": float("inf")}])
def test_bad_figures_are_refused(peaks):
    with pytest.raises(ValueError, match="positive finite"):
        Roofline("device", peaks, 1.0, "")

"""The roofline of a device with a model's operators in it."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.operators.profile import Line
from cluster.operators.roofline import Roofline
from raytune_infer.report.chart import Axis, Chart, Dot, Quantity, Series

_BEYOND = 4.0
"""Factor by which the lines of the roofline go beyond the operators on both sides. Our choice."""


def roofline_chart(roofline: Roofline, lines: Sequence[Line], precision: str) -> Chart | None:
    """Return the picture; None if no operator has both FLOPs and time.

    Args:
        roofline: the device.
        lines: the kinds of operators.
        precision: the model's precision, whose roof is drawn.
    """
    placed = [(line, line.intensity) for line in lines if line.is_operator and line.flops and line.time_s]
    shown = [(line, intensity) for line, intensity in placed if intensity]
    if not shown:
        return None
    ridge = roofline.ridge(precision)
    low = min([ridge, *(intensity for _, intensity in shown)]) / _BEYOND
    high = max([ridge, *(intensity for _, intensity in shown)]) * _BEYOND
    roof = [Dot(x, Quantity(roofline.attainable(x, precision) / 1e9)) for x in (low, ridge, high)]
    dots = [Dot(intensity, Quantity(line.flops / line.time_s / 1e9), line.kind) for line, intensity in shown]
    operators = [Series(dot.label, "measured", (dot,), group=_bound(roofline, dot.x, precision)) for dot in dots]
    return Chart(
        "roofline", "Roofline",
        f"The line is what {roofline.device} can reach at {precision} ({roofline.source}): left of its bend memory is "
        "the limit, right of it compute. A mark is all calls of one kind of operator; bytes count each input and "
        "output once, so one whose data stay in caches may be above the line.",
        Axis("arithmetic intensity", "FLOP/byte"), Axis("rate", "GFLOP/s"),
        (Series("the device's limit", "line", tuple(roof)), *operators), log_x=True, log_y=True,
    )  # fmt: skip


def _bound(roofline: Roofline, intensity: float, precision: str) -> str:
    return f"bound by {roofline.bound(intensity, precision)}"

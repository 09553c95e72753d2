"""Costs that make no way better than another by accident, and stores of registered models."""

from typing import Any

import pytest

from serve_deployments.transform.costs.costs import Costs, Measured
from serve_deployments.transform.costs.line import Line

MB = 1e-6
"""A second for 1 MB: so slow that any byte outweighs any number of things."""


def made_up_costs(**given: Line) -> Costs:
    names = ("check", "bind", "map", "touch", "drop", "copy", "fresh", "structure", "reduce", "edge", "add_other")
    lines: dict[str, Any] = {name: Line(1e-6, MB if name in ("touch", "copy", "fresh") else 0.0) for name in names}
    lines["copy"] = Line(1e-6, 3 * MB)
    return Costs(**{**lines, **given}, measured=Measured("cpu", "cache", "made up", "0"))


@pytest.fixture
def costs() -> Costs:
    return made_up_costs()

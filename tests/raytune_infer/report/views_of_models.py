"""Views of models: their operators and curves, conversions, and endpoints that run already; users' texts in each."""

from dataclasses import replace

from cluster.operators.curves.lookup import Curves
from cluster.operators.curves.point import CallTime, Point, Resources
from cluster.operators.profile import profile_of
from cluster.operators.roofline import Roofline
from cluster.operators.trace import Trace
from raytune_infer.operators.built_model import Place
from raytune_infer.operators.curve_study import StudiedCurves
from raytune_infer.operators.knob_effects import KnobEffect
from raytune_infer.operators.profiling import ServiceProfile
from raytune_infer.report.export.bench_view import highest_view, once_view
from raytune_infer.report.view import View
from raytune_infer.report.words.conversion_plan import plan_view
from raytune_infer.report.words.operators.curves_view import curves_view
from raytune_infer.report.words.operators.profile_view import profile_view
from serve_deployments.metrics.measurement import Measurement
from serve_deployments.models.context import ModelContext
from serve_deployments.transform.planning.plan_cache import PlanCache
from tests.cluster.operators.curves.test_operator_benchmark import dense
from tests.cluster.operators.test_operator_profile import call
from tests.levels import a_level
from tests.serve_deployments.transform.test_planning import BASE, COSTS, OTHER


def views_of_models(typed: str) -> dict[str, View]:
    """Name of its builder → a view of it in which a name, a reason or an address is what was typed."""
    level = a_level(12.345, errors=1, first_error=f"ValueError: {typed}", client_limited=True)
    measured = Measurement("highest_rate", (level,), 0, True, True, 1.0, f"ended {typed}")
    return {
        "once_view": once_view(level, f"http://127.0.0.1:1/{typed}"),
        "highest_view": highest_view(measured, typed, "http://127.0.0.1:1"),
        "profile_view": profile_view(_profile(typed)),
        "curves_view": curves_view(_curves(typed), (KnobEffect(typed, 0.01, 0.0, 0.02, 4, True),), 0.03),
        "plan_view": _plan(typed),
    }


def _profile(typed: str) -> ServiceProfile:
    calls = (call("dense", 0.4), call("unmapped", 0.3, name=f"mine::{typed}"))
    roofline = Roofline(typed, {"float32": 1e9}, 1e9, "by hand")
    profile = profile_of(Trace(4, calls, 1.0, outside_s=0.3), 0.9)
    return ServiceProfile(typed, {"size": 1}, 4, Place(ModelContext()), profile, roofline, {4: 0.9}, {}, (typed,))


def _curves(typed: str) -> StudiedCurves:
    operator = replace(dense(), name=f"mine::{typed}")
    points = [
        Point(operator, Resources(batch), CallTime(1e-3 * batch, 0.9e-3 * batch, 1.1e-3 * batch, 9), typed, "torch")
        for batch in (1, 2, 4)
    ]
    return StudiedCurves(Curves(points), (operator,), tuple(point.resources for point in points), 3, 0, (typed,))


def _plan(typed: str) -> View:
    cache = PlanCache(COSTS)
    for model in (BASE, replace(OTHER, name=typed)):
        cache.register(model)
    return plan_view(cache, BASE.name, typed)

"""Resource curves of a model's operators as a view: the shape of each, what each knob changes, and pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from cluster.operators.curves.point import Point, Resources
from cluster.operators.curves.shape import CurveShape, shape_of
from cluster.operators.scaling import OperatorClass
from raytune_infer.counted import counted
from raytune_infer.operators.curve_study import StudiedCurves
from raytune_infer.operators.knob_effects import KnobEffect
from raytune_infer.report.chart import Axis, Chart, Dot, Quantity, Series
from raytune_infer.report.view import Column, Note, Row, Table, View
from raytune_infer.report.words.values import value_text

_DRAWN = 6
"""Most operators in the picture; our choice, as there are so many colours."""
_RESOURCES: tuple[tuple[str, str, Callable[[Resources], float], Callable[[Resources], Resources]], ...] = (
    ("max_batch_size", "payloads", lambda r: r.batch, lambda r: replace(r, batch=1)),
    ("cpu_cores", "cores", lambda r: r.cpu_cores, lambda r: replace(r, cpu_cores=1, threads=1)),
    ("threads", "threads", lambda r: r.threads, lambda r: replace(r, threads=1)),
    ("gpu_share", "of the GPU", lambda r: r.gpu_share, lambda r: replace(r, gpu_share=0.0)),
    ("gpu_memory", "of its memory", lambda r: r.gpu_memory, lambda r: replace(r, gpu_memory=0.0)),
)
"""Knob, unit of its values, resources → its value, and resources without it, which are equal along one curve."""


def curves_view(found: StudiedCurves, effects: Sequence[KnobEffect], noise: float) -> View:
    """Return the view of curves.

    Args:
        found: the curves.
        effects: what each knob changes.
        noise: relative noise of a trial.
    """
    table = _shapes(found)
    notes = [
        Note(f"{counted(found.measured, 'point')} measured now, {found.known} known from before.", "conclusion"),
        *(Note(note, "warning") for note in found.notes), *_dropped(effects, noise),
    ]  # fmt: skip
    tables = ([table] if table.rows else []) + ([_effects(effects)] if effects else [])
    chart = _chart(found)
    return View("Resource curves", tables=tuple(tables), notes=tuple(notes), charts=() if chart is None else (chart,))


def curves_of(points: Sequence[Point], operator: OperatorClass) -> Iterator[tuple[str, Resources, list[Point]]]:
    """Yield the curves of an operator that have two points or more: the knob, the resources without it, the points."""
    for knob, _, value, without in _RESOURCES:
        groups: dict[Resources, dict[float, Point]] = {}
        for point in points:
            # Along cores there is a thread for each.
            if point.operator == operator and (knob != "cpu_cores" or _has_a_thread_each(point.resources)):
                groups.setdefault(without(point.resources), {})[value(point.resources)] = point
        for resources, by_value in groups.items():
            if len(by_value) > 1:
                yield knob, resources, [by_value[each] for each in sorted(by_value)]


def _has_a_thread_each(resources: Resources) -> bool:
    return resources.threads == resources.cpu_cores


def _shapes(found: StudiedCurves) -> Table:
    columns = (
        Column("operator", "operator", kind="text", key=True), Column("shapes", "shapes", kind="text"),
        Column("knob", "knob", kind="text"), Column("values", "from – to", kind="text"),
        Column("at", "at", kind="text"), Column("shape", "shape", kind="text"),
        Column("gain", "performance", "×", kind="quantity"), Column("knee", "knee at", digits="g"),
        Column("evidence", "evidence", digits=".0f"), Column("points", "points", digits="d"),
    )  # fmt: skip
    wanted = set(found.resources)
    points = [point for point in found.curves.points if point.resources in wanted]
    largest = max((resources.batch for resources in found.resources), default=1)
    rows = [
        _row(operator, knob, at, curve)
        for operator in found.operators
        for knob, at, curve in curves_of(points, operator)
        if knob == "max_batch_size" or at.batch == largest
    ]
    title = f"how performance follows each resource, all else equal; along others than the batch at {largest}"
    return Table("curves", columns, tuple(rows), title=title)


def _row(operator: OperatorClass, knob: str, at: Resources, points: Sequence[Point]) -> Row:
    value = next(value for name, _, value, _ in _RESOURCES if name == knob)
    values = [float(value(point.resources)) for point in points]
    shape = _shape(values, points)
    low, high = min(shape.low, shape.gain), max(shape.high, shape.gain)
    cells = (
        operator.kind, operator.words, knob, f"{values[0]:g} – {values[-1]:g}", _at_words(knob, at), shape.name,
        Quantity(shape.gain, low, high), shape.knee, shape.evidence, len(points),
    )  # fmt: skip
    return Row(cells)


def _shape(values: Sequence[float], points: Sequence[Point]) -> CurveShape:
    performance = [point.resources.batch / point.time.mean_s for point in points]
    return shape_of(values, performance, [point.time.error for point in points])


def _at_words(knob: str, at: Resources) -> str:
    parts = [] if knob == "max_batch_size" else [f"batch {at.batch}"]
    parts += [] if knob == "cpu_cores" else [f"{at.cpu_cores} {'core' if at.cpu_cores == 1 else 'cores'}"]
    parts += [at.precision, *([at.gpu_type] if at.gpu_type else [])]
    parts += [f"{at.gpu_share:g} of it"] if at.gpu_share and knob != "gpu_share" else []
    return ", ".join(parts)


def _effects(effects: Sequence[KnobEffect]) -> Table:
    columns = (
        Column("knob", "knob", kind="text", key=True), Column("effect", "changes the rate by", "%", kind="quantity"),
        Column("best", "best value", kind="text"), Column("droppable", "a search", kind="text"),
    )  # fmt: skip
    rows = [
        Row((
            each.knob,
            None if each.effect is None else Quantity(100 * each.effect, 100 * each.low, 100 * each.high),
            None if each.best is None else value_text(each.best), _use(each),
        ))
        for each in effects
    ]  # fmt: skip
    return Table("knobs", columns, tuple(rows), title="what each knob changes at most, by the sum of the operators")


def _use(effect: KnobEffect) -> str:
    if effect.effect is None:
        return "needs it: curves do not tell"
    return "can do without it" if effect.droppable else "needs it"


def _dropped(effects: Sequence[KnobEffect], noise: float) -> Iterator[Note]:
    for each in effects:
        if each.droppable and each.effect is not None and each.best is not None:
            yield Note(
                f"{each.knob} can be dropped: it changes the rate by {each.effect:.1%}, {each.high:.1%} at most, and a "
                f"trial cannot tell less than {noise:.0%}. To drop it, leave one value in service.yaml, the cheapest "
                f"or {value_text(each.best)}; to keep it, leave service.yaml as it is: nothing is left out unasked."
            )


def _chart(found: StudiedCurves) -> Chart | None:
    """Return the time of a call against the batch, of the operators with most time, at each cores and precision."""
    wanted = set(found.resources)
    points = [point for point in found.curves.points if point.resources in wanted]
    series = []
    for operator in found.operators[:_DRAWN]:
        for knob, at, curve in curves_of(points, operator):
            if knob == "max_batch_size":
                name = f"{operator.kind} {operator.words}"
                dots = tuple(Dot(float(p.resources.batch), _ms(p), f"{name}, {_at_words(knob, at)}") for p in curve)
                series.append(Series(f"{name}, {_at_words(knob, at)}", "line", dots, group=name))
    if not series:
        return None
    caption = "A line is one operator at one setting of the other resources; both axes are logarithmic."
    axes = Axis("batch", "payloads"), Axis("time of a call", "ms")
    return Chart("curves_over_batch", "Operators over the batch", caption, *axes, tuple(series), log_x=True, log_y=True)


def _ms(point: Point) -> Quantity:
    time = point.time
    return Quantity(1e3 * time.mean_s, 1e3 * time.low_s, 1e3 * time.high_s)

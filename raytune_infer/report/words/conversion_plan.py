"""View of how one model becomes another one: the steps of a plan, and all ways with their prices."""

from __future__ import annotations

from collections.abc import Sequence

from raytune_infer.errors import UserError
from raytune_infer.report.view import Column, Note, Row, Table, View
from serve_deployments.transform.planning.plan import Plan, Step, Way
from serve_deployments.transform.planning.plan_cache import PlanCache
from serve_deployments.transform.planning.ways import Situation, by_operators, chosen
from serve_deployments.transform.registered.registered_model import RegisteredModel

_MB = 1e6


def asked_way(name: str | None) -> Way | None:
    """Return the way of a name; raises UserError if there is none."""
    if name is None:
        return None
    try:
        return Way(name)
    except ValueError:
        raise UserError(f"--way {name!r}: no such way; there are {', '.join(map(repr, map(str, Way)))}") from None


def plan_view(cache: PlanCache, source: str, target: str, way: Way | None = None, *, kept: bool = False) -> View:
    """Return how a process that holds one model would get another one.

    Args:
        cache: both models, and the costs to price with.
        source: name of the model that is held, and given up.
        target: name of the model that is wanted.
        way: the way whose steps are shown; None: the cheapest.
        kept: whether the process has held the target before.

    Raises:
        ModelError: the way is not open.
    """
    situation = cache.situation(target, source=source, kept=kept)
    plan = chosen(situation, cache.costs, way, insist=True)
    return View(
        title=f"{source} → {target}: {plan.way.value}, {1e3 * plan.price_s:.3g} ms",
        tables=(_steps(plan), _ways(plan)),
        notes=tuple(_notes(situation, cache)),
    )


def _steps(plan: Plan) -> Table:
    columns = (
        Column("action", "step", kind="text", key=True), Column("what", "of what", kind="text"),
        Column("count", "number", digits="d"), Column("mb", "bytes", "MB", digits=".2f"),
        Column("ms", "price", "ms", digits=".3f"),
    )  # fmt: skip
    rows = [Row((step.action, step.what, step.count, step.size_bytes / _MB, 1e3 * step.price_s)) for step in plan.steps]
    total = Row(("total", None, None, plan.moved_bytes / _MB, 1e3 * plan.price_s), "total")
    return Table("steps", columns, (*rows, total), title="steps")


def _ways(plan: Plan) -> Table:
    columns = (Column("way", "way", kind="text", key=True), Column("ms", "price", "ms", digits=".3f"))
    ways = sorted(plan.considered.items(), key=lambda item: item[1])
    rows = [Row((way.value, 1e3 * price_s), "best" if way is plan.way else "") for way, price_s in ways]
    return Table("ways", columns, tuple(rows), title="ways")


def _notes(situation: Situation, cache: PlanCache) -> list[Note]:
    pair = situation.pair
    assert pair is not None, "planned with a source"
    odd = [model for model in (pair.source, pair.target) if model.why_not is not None]
    if odd:
        return [Note(f"{model.name} is built each time: {model.why_not}", "warning") for model in odd]
    graph, shared = pair.target.graph, pair.shared_bytes / _MB
    alike = "have one structure" if pair.same_structure else "have different structures"
    said = (
        f"the models {alike}; of {graph.size_bytes / _MB:.2f} MB in {len(graph.operations)} operations of "
        f"{pair.target.name}, {shared:.2f} MB are in {pair.source.name} too"
    )
    in_order, exact = (by_operators(situation, cache.costs, exact=each) for each in (False, True))
    literal = (
        f"the paper's operators: {1e3 * in_order.price_s:.3g} ms matched in order, {1e3 * exact.price_s:.3g} ms by "
        f"the exact assignment ({_counted(in_order.steps)})"
    )
    measured = cache.costs.measured
    where = f"costs of {measured.machine}, {measured.device}, weights in the {_STORAGE[measured.storage]}"
    return [
        Note(said),
        Note(literal),
        Note(f"{where}, torch {measured.torch}, measured {measured.date}"),
        *_built(pair.target),
    ]


_STORAGE = {"cache": "page cache", "disk": "files on disk"}


def _counted(steps: Sequence[Step]) -> str:
    """How many of each operator there are."""
    names = ("Replace", "Reshape", "Reduce", "Add")
    counts = {name: sum(step.action == name for step in steps) for name in names}
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _built(model: RegisteredModel) -> list[Note]:
    return [Note(f"its own builder took {model.build_s:.2f} s, which only the way 'naive' does again")]

"""Which operation of one graph becomes which of another: the paper's fast planner, and the exact assignment beside it.

Only operations of one type become one another. Of a matching M the price is

    c(M) = Σ_{(i, j) ∈ M} pair(i, j) + Σ_{i unmatched} reduce(i) + Σ_{j unmatched} add(j)

without the edges, whose price depends on pairs of pairs (a quadratic assignment problem) and is next to nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from serve_deployments.transform.costs.costs import Costs
from serve_deployments.transform.graph.graph import Graph, Operation
from serve_deployments.transform.planning.operators import Add, EdgeChange, Operator, Reduce, Replace, Reshape

Pairs = tuple[tuple[int, int], ...]
"""Positions of operations in the first and in the second graph that become one another."""


@dataclass(frozen=True)
class Piece:
    """The memory of an operation that matters for what it can become: type, sizes and bytes of its tensors.

    Args:
        form: of each tensor its type, sizes, steps and name.
        sizes: bytes of each tensor's memory.
        digests: hash of each.
        attributes: the operation's plain attributes, as one text.
    """

    form: tuple[object, ...]
    sizes: tuple[int, ...]
    digests: tuple[str, ...]
    attributes: tuple[tuple[str, str], ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all its tensors."""
        return sum(self.sizes)


def pieces(graph: Graph) -> list[Piece]:
    """What each operation of a graph has in memory; a tensor that several share is counted for the first alone."""
    seen: set[int] = set()
    found = []
    for operation in graph.operations:
        own = [i for i in operation.tensors if i not in seen]
        seen.update(own)
        specs = [graph.tensors[i] for i in own]
        names = [next(p.name for p in spec.places if p.module == operation.path) for spec in specs]
        blobs = [graph.blobs[spec.blob] for spec in specs]
        form = tuple((name, s.dtype, s.shape, s.stride) for name, s in zip(names, specs, strict=True))
        found.append(
            Piece(
                form, tuple(b.size_bytes for b in blobs), tuple(b.digest for b in blobs),
                tuple(sorted(operation.attributes.items())),
            )
        )  # fmt: skip
    return found


def by_type(operations: Sequence[Operation]) -> Mapping[str, list[int]]:
    """Type → positions of the operations of that type, in order."""
    found: dict[str, list[int]] = defaultdict(list)
    for i, operation in enumerate(operations):
        found[operation.type].append(i)
    return found


def match_in_order(one: Graph, other: Graph) -> Pairs:
    """The paper's planner (section 4.3): within a type, the first becomes the first, and so on."""
    ours, theirs = by_type(one.operations), by_type(other.operations)
    pairs = [pair for type_, found in ours.items() for pair in zip(found, theirs.get(type_, ()), strict=False)]
    return tuple(sorted(pairs, key=lambda pair: pair[1]))


def match_exactly(one: Graph, other: Graph, costs: Costs) -> Pairs:
    """The matching with the least price: an assignment problem for each type (scipy's Jonker-Volgenant, O(n³)).

    A pair is worth what it saves, reduce(i) + add(j) - pair(i, j); one that saves nothing is left out.
    """
    ours, theirs = pieces(one), pieces(other)
    here, there = by_type(one.operations), by_type(other.operations)
    pairs: list[tuple[int, int]] = []
    for type_, found in here.items():
        wanted = there.get(type_, [])
        if not wanted:
            continue
        saved = _savings([ours[i] for i in found], [theirs[j] for j in wanted], type_, costs)
        for row, column in zip(*linear_sum_assignment(saved, maximize=True), strict=True):
            if saved[row, column] > 0:
                pairs.append((found[row], wanted[column]))
    return tuple(sorted(pairs, key=lambda pair: pair[1]))


def _savings(ours: Sequence[Piece], theirs: Sequence[Piece], type_: str, costs: Costs) -> np.ndarray:
    """`[ours, theirs]` seconds that each pair saves; pieces that are alike are priced once."""
    rows = {piece: n for n, piece in enumerate(dict.fromkeys(ours))}
    columns = {piece: n for n, piece in enumerate(dict.fromkeys(theirs))}
    drop = costs.reduce.seconds(1)
    saved = np.array(
        [[drop + _add_s(b, type_, costs) - _pair_s(a, b, costs) for b in columns] for a in rows], dtype=float
    )
    return saved[np.ix_([rows[a] for a in ours], [columns[b] for b in theirs])]


def _pair_s(a: Piece, b: Piece, costs: Costs) -> float:
    return _paired("", "", a, b).price_s(costs)


def _add_s(b: Piece, type_: str, costs: Costs) -> float:
    return Add("", type_, b.size_bytes, len(b.sizes)).price_s(costs)


def _paired(source: str, target: str, a: Piece, b: Piece) -> Replace | Reshape:
    """What makes one operation of the other: Replace where attributes and sizes are the same, else Reshape."""
    if a.form == b.form:
        changed = [n for n, (x, y) in enumerate(zip(a.digests, b.digests, strict=True)) if not x or x != y]
        size = sum(b.sizes[n] for n in changed)
        if a.attributes == b.attributes:
            return Replace(source, target, size, len(changed))
        return Reshape(source, target, 0, 0, size, len(changed))
    there = dict(zip(a.form, a.digests, strict=True))
    copied = [n for n, form in enumerate(b.form) if form in there and (not b.digests[n] or there[form] != b.digests[n])]
    anew = [n for n, form in enumerate(b.form) if form not in there]
    return Reshape(
        source, target, sum(b.sizes[n] for n in anew), len(anew), sum(b.sizes[n] for n in copied), len(copied)
    )


def operators(one: Graph, other: Graph, pairs: Pairs) -> tuple[Operator, ...]:
    """The sequence of meta-operators that a matching stands for; the edges come last, as in the paper."""
    ours, theirs = pieces(one), pieces(other)
    became = dict((j, i) for i, j in pairs)
    made: list[Operator] = []
    for j, operation in enumerate(other.operations):
        if j in became:
            i = became[j]
            made.append(_paired(one.operations[i].path, operation.path, ours[i], theirs[j]))
        else:
            made.append(Add(operation.path, operation.type, theirs[j].size_bytes, len(theirs[j].sizes)))
    kept = {i for i, _ in pairs}
    made += [Reduce(operation.path) for i, operation in enumerate(one.operations) if i not in kept]
    made.append(_edges(one, other, pairs))
    return tuple(made)


def _edges(one: Graph, other: Graph, pairs: Pairs) -> EdgeChange:
    renamed = {one.operations[i].path: other.operations[j].path for i, j in pairs}
    have = {(renamed.get(e.source), renamed.get(e.target), e.kind) for e in one.edges}
    wanted = {(e.source, e.target, e.kind) for e in other.edges}
    gone = sum((renamed.get(e.source), renamed.get(e.target), e.kind) not in wanted for e in one.edges)
    return EdgeChange(gone, len(wanted - have))


def price_s(made: Sequence[Operator], costs: Costs) -> float:
    """Seconds of a sequence of operators; as a distance of two models, what placements are made by."""
    return sum(operator.price_s(costs) for operator in made)

"""A binary tree of regions: how it grows, best split first, whatever splits a region.

Notation: n configurations, N nodes; node 0 is the whole space, and a node's children have larger numbers than it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

NO_NODE = -1


@dataclass(frozen=True, eq=False)
class Split:
    """A way to part a region in two.

    Args:
        knob: index of the knob by whose values it is parted.
        ranks: ranks of the values that go left; -1 stands for the knob's absence.
        gain: how much it is worth; of several regions the one with the largest gain is parted first.
    """

    knob: int
    ranks: tuple[int, ...]
    gain: float


Splitter = Callable[[np.ndarray], Split | str]
"""`[c]` positions of a region → its best split, or why it is not parted."""

ENOUGH = "there are as many regions as a region has configurations"
"""Why a region is not parted that could be: with √n regions, the fewest things are compared on the way to one of n."""


@dataclass(frozen=True, eq=False)
class Tree:
    """Regions of a space.

    Args:
        parent: `[N]` parent of each node; NO_NODE for the whole space.
        children: `[N, 2]` left and right child; NO_NODE for a leaf.
        splits: for each node, how it is parted; for a leaf, why it is not.
        leaf_of: `[n]` leaf of each configuration.
    """

    parent: np.ndarray
    children: np.ndarray
    splits: tuple[Split | str, ...]
    leaf_of: np.ndarray

    def __len__(self) -> int:
        """Number of nodes, N."""
        return len(self.parent)

    @property
    def leaves(self) -> np.ndarray:
        """Numbers of the leaves, ascending."""
        return np.flatnonzero(self.children[:, 0] == NO_NODE)

    def upward(self, of_leaves: np.ndarray, combine: np.ufunc) -> np.ndarray:
        """`[N]` numbers of the leaves, and of every other node those of its children combined.

        Args:
            of_leaves: `[N]` numbers, of which those of the leaves count.
            combine: of two numbers, such as `np.add`.
        """
        out = of_leaves.copy()
        for node in range(len(self) - 1, -1, -1):  # children first
            left, right = self.children[node]
            if left != NO_NODE:
                out[node] = combine(out[left], out[right])
        return out


def grow(ranks: np.ndarray, split: Splitter, most: int) -> Tree:
    """Part the space, the region with the largest gain first; of equal gains, the older one.

    Args:
        ranks: `[n, a]` rank of each configuration's value of each knob; -1 where the knob does not exist.
        split: how a region is best parted. Both parts must have a configuration.
        most: number of regions at which it ends.
    """
    parent, children, splits = [NO_NODE], [(NO_NODE, NO_NODE)], [split(np.arange(len(ranks)))]
    members = [np.arange(len(ranks))]
    leaf_of = np.zeros(len(ranks), dtype=np.int64)
    waiting: list[tuple[float, int]] = []
    _wait(waiting, splits, 0)
    leaves = 1
    while waiting and leaves < most:
        node = heapq.heappop(waiting)[1]
        chosen = splits[node]
        assert isinstance(chosen, Split), "only what can be parted waits"
        left = np.isin(ranks[members[node], chosen.knob], chosen.ranks)
        children[node] = (len(parent), len(parent) + 1)
        for part in (members[node][left], members[node][~left]):
            leaf_of[part] = len(parent)
            parent.append(node)
            children.append((NO_NODE, NO_NODE))
            members.append(part)
            splits.append(split(part))
            _wait(waiting, splits, len(parent) - 1)
        leaves += 1
    for _, node in waiting:
        splits[node] = ENOUGH
    return Tree(np.array(parent), np.array(children), tuple(splits), leaf_of)


def _wait(waiting: list[tuple[float, int]], splits: list[Split | str], node: int) -> None:
    found = splits[node]
    if isinstance(found, Split):
        heapq.heappush(waiting, (-found.gain, node))

"""Monte-Carlo tree search among regions: what is backed up, and which region is next.

Each node is scored by UCT (Kocsis, Szepesvári 2006) as a child of its parent p,

    U = q (1 + V) / (1 + V + W) + σ √(2 ln(1 + V_p + W_p) / (1 + V + W)),

with V the trials in the node that ended and W those that run. q is the reward that is expected of the node's best free
configuration, and is backed up as the larger of its children's: what is sought is one configuration, not a region that
is good on average (max backup; Coulom 2006). Before the first trial it is the first-play value (Gelly, Wang 2006).
Trials change it through the process of all trials, which knows what a reward here says of regions elsewhere; to average
rewards beside it counts them twice, and one failure then spoils a region whose other configurations are known to run
(docs/falcon.md has figures). A pending trial counts as one of reward 0 (virtual loss; Chaslot, Winands, van den Herik
2008), so that trials at a time part over regions.

σ is how far off q may be. A reward is 0 to 1, so it is at most 1/2, as for any variable in that range (Hoeffding 1963),
and smaller where more is known: σ √(2 ln V / V) is the bonus for rewards of that deviation (Lattimore, Szepesvári 2020,
chapter 8).

Notation: n configurations, N nodes, k trials; `[N]` arrays are by node.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from searchers.falcon.tree import NO_NODE, Tree

MOST_DEVIATION = 0.5
"""Largest standard deviation of a number between 0 and 1."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """What a search knows of each node.

    Args:
        ended: `[N]` trials in the node that ended.
        pending: `[N]` trials in the node that run.
        value: `[N]` largest expected reward of the node's free configurations; -inf where nothing is free.
        deviation: `[N]` standard deviation of that reward.
    """

    ended: np.ndarray
    pending: np.ndarray
    value: np.ndarray
    deviation: np.ndarray


def backed_up(
    tree: Tree, ended: np.ndarray, pending: np.ndarray, value: np.ndarray, deviation: np.ndarray
) -> Statistics:
    """The statistics of every node, from the trials and what is expected of configurations.

    Args:
        tree: the regions.
        ended: `[k]` positions of the trials that ended; a position may occur more than once.
        pending: positions of those that run.
        value: `[n]` expected reward of every configuration, 0 to 1.
        deviation: `[n]` its standard deviation.
    """
    nodes, is_free = len(tree), np.ones(len(value), dtype=bool)
    is_free[ended] = is_free[pending] = False
    free = np.flatnonzero(is_free)
    ascending = free[np.argsort(value[free], kind="stable")]
    place = np.full(nodes, -1)
    place[tree.leaf_of[ascending]] = np.arange(len(ascending))  # of a leaf's, the last one stays
    top = tree.upward(place, np.maximum)
    has = top >= 0
    best = ascending[top[has]]
    first, apart = np.full(nodes, -np.inf), np.zeros(nodes)
    first[has], apart[has] = value[best], np.minimum(deviation[best], MOST_DEVIATION)
    ended_in, pending_in = (
        tree.upward(np.bincount(tree.leaf_of[at], minlength=nodes), np.add) for at in (ended, pending)
    )
    return Statistics(ended_in, pending_in, first, apart)


def uct(statistics: Statistics, parent: int, children: np.ndarray) -> np.ndarray:
    """U of the children of a node; -inf where nothing is free."""
    ended = 1 + statistics.ended[children]
    visits = ended + statistics.pending[children]
    log = np.log(1 + statistics.ended[parent] + statistics.pending[parent])
    bonus = statistics.deviation[children] * np.sqrt(2 * log / visits)
    return np.asarray(statistics.value[children] * ended / visits + bonus)


def selected(tree: Tree, statistics: Statistics, rng: np.random.Generator) -> int:
    """The leaf to which UCT leads from the root, ties broken at random; one or more configurations must be free."""
    node = 0
    while tree.children[node, 0] != NO_NODE:
        children = tree.children[node]
        scores = uct(statistics, node, children).round(12)
        node = int(rng.choice(children[scores == scores.max()]))
    return node

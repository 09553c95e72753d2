"""The growth of a tree by a splitter that says what it is told."""

import numpy as np
import pytest

from searchers.falcon.tree import ENOUGH, NO_NODE, Split, Tree, grow

RANKS = np.arange(8)[:, None]


def halves(gains: dict[tuple[int, ...], float]):
    """Parts a region in the middle if its configurations are listed; says why not elsewhere."""

    def split(members: np.ndarray) -> Split | str:
        key = tuple(members.tolist())
        if key not in gains:
            return f"nobody parts {key}"
        return Split(0, key[: len(key) // 2], gains[key])

    return split


EVERY = {(0, 1, 2, 3, 4, 5, 6, 7): 1.0, (0, 1, 2, 3): 2.0, (4, 5, 6, 7): 5.0, (4, 5): 3.0}


def test_the_largest_gain_comes_first_and_why_the_others_stay_whole_is_kept():
    tree = grow(RANKS, halves(EVERY), most=4)
    # The space, then its right half (5), of that the left quarter (3); the left half (2) would have been the fifth.
    assert tree.parent.tolist() == [NO_NODE, 0, 0, 2, 2, 3, 3]
    assert tree.children.tolist() == [[1, 2], [-1, -1], [3, 4], [5, 6], [-1, -1], [-1, -1], [-1, -1]]
    assert tree.leaf_of.tolist() == [1, 1, 1, 1, 5, 6, 4, 4]
    assert tree.leaves.tolist() == [1, 4, 5, 6]
    assert [tree.splits[leaf] for leaf in tree.leaves] == [
        ENOUGH, "nobody parts (6, 7)", "nobody parts (4,)", "nobody parts (5,)",
    ]  # fmt: skip


def test_it_ends_where_nobody_parts_anything():
    tree = grow(RANKS, halves(EVERY), most=99)
    assert len(tree.leaves) == 5 and all(isinstance(tree.splits[leaf], str) for leaf in tree.leaves)
    whole = grow(RANKS, halves({}), most=99)
    assert (
        len(whole) == 1
        and whole.leaf_of.tolist() == [0] * 8
        and whole.splits == ("nobody parts (0, 1, 2, 3, 4, 5, 6, 7)",)
    )


@pytest.mark.parametrize(("combine", "root", "third"), [(np.add, 10.0, 6.0), (np.maximum, 4.0, 3.0)])
def test_numbers_of_leaves_are_combined_upward(combine, root, third):
    tree = grow(RANKS, halves(EVERY), most=4)
    numbers = np.full(7, 1e9)  # what inner nodes are given does not count
    numbers[[1, 4, 5, 6]] = [4.0, 0.0, 3.0, 3.0]
    found = tree.upward(numbers, combine)
    assert found[0] == root and found[3] == third and found[2] == third and found[1] == 4.0
    assert isinstance(tree, Tree) and numbers[0] == 1e9

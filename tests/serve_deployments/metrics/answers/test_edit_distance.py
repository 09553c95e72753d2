"""Edit distances against the definition, and of texts of any length in time that does not run away."""

import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_deployments.metrics.answers.edit_distance import LONGEST, edit_distance


def by_the_table(one, other) -> int:
    """The table of Wagner and Fischer, cell by cell."""
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        before, row = row, [i]
        for j, right in enumerate(other, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (left != right)))
    return row[-1]


@settings(deadline=None, max_examples=300)
@given(st.text("ab", max_size=12), st.text("abc", max_size=12))
def test_an_edit_distance_is_that_of_the_definition(one, other):
    assert edit_distance(one, other) == (by_the_table(one, other), max(len(one), len(other)))
    assert edit_distance(one.encode(), other.encode()) == edit_distance(one, other)


def test_edit_distances_known_from_books():
    assert edit_distance("kitten", "sitting") == (3, 7) and edit_distance(b"ab", b"cab") == (1, 3)
    assert edit_distance("", "abc") == (3, 3) and edit_distance("", "") == (0, 0)


def test_texts_longer_than_a_machine_word_too():
    rng = np.random.default_rng(1)
    one, other = ("".join(rng.choice(list("abcd"), size)) for size in (150, 170))
    assert edit_distance(one, other) == (by_the_table(one, other), 170)


def test_a_long_text_is_compared_character_by_character_also_without_spaces():
    """Chinese has none, nor has base64: a text of them is not one word."""
    text = "编辑距离" * 10_000
    assert edit_distance(text, text[:20_000] + "长" + text[20_001:]) == (1, 40_000)
    assert edit_distance(text, "长" + text[1:-1] + "长")[0] >= 2  # never taken for the same
    words = " ".join(f"word{number}" for number in range(5_000))
    assert edit_distance(words, words.replace("word2500", "other"))[0] == by_the_table("word2500", "other")


def test_of_a_difference_that_is_longer_the_beginning_stands_for_the_rest():
    one, other = "a" * (4 * LONGEST), "ab" * (2 * LONGEST) + "b"
    distance, length = edit_distance(one, other)
    assert length == 4 * LONGEST + 1 and abs(distance / length - 0.5) < 0.01
    assert edit_distance("x" * 10, "y" * (3 * LONGEST)) == (3 * LONGEST, 3 * LONGEST)


def test_very_long_texts_take_a_bounded_time():
    """The square of a million characters would take hours."""
    rng = np.random.default_rng(2)
    one, other = ("".join(rng.choice(list("abcdefgh"), 1_000_000)) for _ in range(2))
    began_s = time.process_time()
    distance, length = edit_distance(one, other)
    assert time.process_time() - began_s < 10 and 0.4 < distance / length < 0.9

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchers.space import Knob, Space

values = st.one_of(
    st.lists(st.integers(1, 99), min_size=1, max_size=4, unique=True).map(sorted),
    st.lists(st.text("abc", max_size=3), min_size=1, max_size=4, unique=True),
    st.lists(st.booleans(), min_size=1, max_size=2, unique=True),
)


@st.composite
def spaces(draw):
    knobs = [Knob(f"k{i}", tuple(draw(values))) for i in range(draw(st.integers(1, 4)))]
    everything = Space(knobs)
    if draw(st.booleans()):
        return everything
    kept = draw(st.sets(st.integers(0, len(everything) - 1), min_size=1))
    return Space(knobs, [everything[i] for i in kept])


@given(spaces())
def test_position_and_getitem_are_inverse(space):
    assert [space.position(space[i]) for i in range(len(space))] == list(range(len(space)))


@given(spaces())
def test_features_have_a_row_for_each_position_and_are_what_the_knobs_say(space):
    assert space.features.shape == (len(space), len(space.columns))
    assert space.ranks.shape == (len(space), len(space.knobs))
    for i in range(len(space)):
        row = [f for knob in space.knobs for f in knob.features[knob.values.index(space[i][knob.name])]]
        assert space.features[i].tolist() == row


def test_columns_of_the_same_name_add_up():
    gpu = Knob("gpu", ("T4", "V100"), "categorical", ("log2_gib", "log2_flops"), ((4.0, 3.0), (5.0, 4.0)))
    share = Knob("share", (0.5, 1.0), columns=("log2_gib",), features=((-1.0,), (0.0,)))
    assert Space([gpu, share]).features.tolist() == [[3, 3], [4, 3], [4, 4], [5, 4]]


def test_default_encodings():
    assert Knob("cores", (1, 4)).features == ((0.0,), (2.0,))
    assert Knob("cores", (1, 4)).columns == ("log2_cores",)
    assert Knob("wait", (0, 5)).columns == ("wait",)
    assert Knob("size", ("small", "large")).features == ((0.0,), (1.0,))
    assert Knob("engine", ("x", "y"), "categorical").columns == ("engine=x", "engine=y")
    assert math.isclose(Knob("f", (0.1, 0.4)).features[1][0], math.log2(0.4))


def test_one_and_true_are_different_values():
    space = Space([Knob("k", (1, True, 1.0), "categorical")])
    assert [space.position({"k": v}) for v in (1, True, 1.0)] == [0, 1, 2]


@pytest.mark.parametrize("bad", [
    lambda: Knob("k", ()),
    lambda: Knob("k", (1, 1)),
    lambda: Knob("k", (1, 2), columns=("a",), features=((1.0,),)),
    lambda: Knob("k", (1, 2), features=((1.0,), (2.0,))),
    lambda: Space([]),
    lambda: Space([Knob("k", (1,)), Knob("k", (2,))]),
    lambda: Space([Knob("k", (1,))], []),
])  # fmt: skip
def test_refuses_what_makes_no_sense(bad):
    with pytest.raises(ValueError):
        bad()


def test_what_is_not_in_the_space_is_a_key_error_that_says_so():
    space = Space([Knob("a", (1, 2)), Knob("b", (1, 2))], [{"a": 1, "b": 1}, {"a": 2, "b": 2}])
    cases = (({"a": 1, "b": 2}, "not allowed"), ({"a": 3, "b": 2}, "does not offer: 3"), ({"a": 1}, "name exactly"))
    for config, message in cases:
        with pytest.raises(KeyError, match=message):
            space.position(config)
    for position in (-1, 2):
        with pytest.raises(IndexError):
            space[position]


def test_survives_pickling_with_its_numbering():
    space = Space([Knob("a", (1, 2)), Knob("b", ("x", "y"))])
    again = pickle.loads(pickle.dumps(space))
    assert [again[i] for i in range(4)] == [space[i] for i in range(4)]
    assert np.array_equal(again.features, space.features)


def test_neighbours_are_those_that_differ_in_one_knob():
    knobs = [Knob("a", (1, 2, 3)), Knob("b", ("x", "y", "z", "w"), "categorical"), Knob("c", (7,)), Knob("d", (1, 2))]
    whole = Space(knobs)
    for space in (whole, whole.subset(np.random.default_rng(0).choice(len(whole), 13, replace=False))):
        for position in range(len(space)):
            apart = (space.ranks != space.ranks[position]).sum(axis=1)
            assert space.neighbours(position).tolist() == np.flatnonzero(apart == 1).tolist()


def test_features_stand_in_their_own_columns_whatever_the_order_in_which_a_knob_names_them():
    one = Knob("gpu", ("T4",), "categorical", ("gib", "flops"), ((16.0, 8.0),))
    two = Knob("share", (0.5, 1.0), columns=("flops", "gib"), features=((-1.0, -2.0), (0.0, 0.0)))
    space = Space([one, two])
    assert space.columns == ("gib", "flops") and space.features.tolist() == [[14, 7], [16, 8]]


def test_a_knob_says_between_which_values_a_live_replica_changes():
    assert Knob("batch", (1, 2, 4)).needs == (0, 1, 2)
    assert Knob("batch", (1, 2, 4), changes="in place").needs == (0, 0, 0)
    assert Knob("batch", (1, 2, 4), changes="in place", apart=(0, 0, 2)).needs == (0, 0, 2)
    for wrong in ({"apart": (0, 0, 2)}, {"apart": (0, 2), "changes": "in place"}):
        with pytest.raises(ValueError, match="knob 'batch': `apart` needs .* 3 values, got"):
            Knob("batch", (1, 2, 4), **wrong)

"""Tune's domains as knobs; needs Tune's classes, and no Ray that runs."""

import math
from typing import Any

import numpy as np
import pytest
from ray import tune
from ray._private.dict import merge_dicts

from searchers.ray_tune import param_space
from searchers.ray_tune.param_space import paths_of, space_of
from searchers.space import Knob, Space


def values(domain) -> tuple:
    (knob,) = space_of({"k": domain}).knobs
    return knob.values


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        (tune.randint(1, 4), (1, 2, 3)),  # without the upper end, as Tune draws
        (tune.randint(-1, 1), (-1, 0)),
        (tune.qrandint(3, 9, 3), (3, 6, 9)),
        (tune.qrandint(4, 8, 4), (4, 8)),
        (tune.qrandint(1, 3, 1), (1, 2)),  # a step of 1 is no step: Tune leaves the upper end out again
        (tune.quniform(0.1, 0.3, 0.1), (0.1, 0.2, 0.3)),
        (tune.quniform(-0.5, 0.5, 0.5), (-0.5, 0.0, 0.5)),
        (tune.choice([4, 1, 2, 2]), (1, 2, 4)),
        (tune.choice([2.5, 1]), (1, 2.5)),
        (tune.choice(["b", "a"]), ("b", "a")),
        (tune.choice([True, False]), (True, False)),
        (tune.choice([1, True, 1.0]), (1, True, 1.0)),
        (tune.grid_search(["x", "y"]), ("x", "y")),
    ],
)
def test_a_finite_domain_is_a_knob_of_its_values(domain, expected):
    found = values(domain)
    assert found == expected and [type(v) for v in found] == [type(v) for v in expected]


@pytest.mark.parametrize(("domain", "kind"), [(tune.choice([2, 1]), "ordinal"), (tune.randint(0, 3), "ordinal"),
                                              (tune.choice([1, "a"]), "categorical"),
                                              (tune.choice([True, False]), "categorical")])  # fmt: skip
def test_numbers_are_in_order_and_all_else_is_merely_different(domain, kind):
    assert space_of({"k": domain}).knobs[0].kind == kind


def test_nested_keys_are_knobs_by_their_path_and_constants_are_none():
    given = {"a": tune.choice([1, 2]), "b": {"c": {"d": tune.choice([3])}, "e": 7}, "f": tune.grid_search([5])}
    space = space_of(given)
    assert isinstance(space, Space) and sorted(knob.name for knob in space.knobs) == ["a", "b/c/d", "f"]
    assert paths_of(given).nested({"a": 1, "b/c/d": 3, "f": 5}) == {"a": 1, "b": {"c": {"d": 3}}, "f": 5}


@pytest.mark.parametrize(
    ("given", "name", "trial"),
    [
        ({"lr/x": tune.choice([1])}, "lr/x", {"lr/x": 1}),
        ({"n": {"a/b": {"c": tune.choice([1]), "d": 2}}}, "n/a/b/c", {"n": {"a/b": {"c": 1, "d": 2}}}),
        ({"n": {8: tune.choice([1]), 9: 2}}, "n/8", {"n": {8: 1, 9: 2}}),
        ({"layers": [64, tune.choice([1]), "end"], "k": 3}, "layers/1", {"layers": [64, 1, "end"], "k": 3}),
        ({"pair": (tune.grid_search([1]), None)}, "pair/0", {"pair": (1, None)}),
        ({"l": [{"u": tune.choice([1]), "v": 2}, {"w": 3}]}, "l/0/u", {"l": [{"u": 1, "v": 2}, {"w": 3}]}),
        ({"l": [[0, tune.choice([1])], 2]}, "l/0/1", {"l": [[0, 1], 2]}),
    ],
)
def test_keys_with_a_slash_numbers_as_keys_and_lists_come_back_as_they_were_given(given: dict[str, Any], name, trial):
    (space, paths) = space_of(given), paths_of(given)
    assert [knob.name for knob in space.knobs] == [name]
    made = merge_dicts(given, paths.nested(space[0]))  # what Tune itself does with a suggestion
    assert made == trial and paths.config_of(made, space) == space[0]
    assert paths.config_of({name: 1}, space) == space[0] and paths.config_of({"other": 1}, space) == {}


def test_two_keys_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"two keys that read 'a/b', \['a', 'b'\] and \['a/b'\]; rename one"):
        space_of({"a": {"b": tune.choice([1, 2])}, "a/b": tune.choice([1, 2])})


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, np.float32("nan"), 10**400])
def test_a_choice_of_a_number_that_is_not_finite_is_refused(odd):
    for make in (tune.choice, tune.grid_search):
        for others in ([], [1, 2], ["a"]):
            with pytest.raises(
                ValueError, match="key 'n/k' chooses .*, which is not a finite number; choose None or a"
            ):
                space_of({"n": {"k": make([*others, odd])}})
    with pytest.raises(ValueError, match="knob 'k' has .* among its values, which is not a finite number"):
        Knob("k", (1, odd.item() if isinstance(odd, np.generic) else odd))


def test_a_categorical_knob_of_a_space_of_ones_own_may_have_an_infinity_but_no_nan():
    assert Space([Knob("k", (math.inf, 1), "categorical")])[0] == {"k": math.inf}
    with pytest.raises(ValueError, match="knob 'k' has nan among its values, which is not a finite number"):
        Knob("k", (math.nan, 1), "categorical")


def test_a_choice_from_nothing_is_refused_with_tunes_key():
    for domain in (tune.choice([]), tune.grid_search([])):
        with pytest.raises(ValueError, match="`param_space` key 'n/k' has nothing to choose from; give it one value"):
            space_of({"n": {"k": domain}})


@pytest.mark.parametrize(
    "domain", [tune.uniform(0, 1), tune.loguniform(1, 2), tune.randn(), tune.sample_from(lambda spec: 1)]
)
def test_what_is_not_finite_is_refused_with_the_remedy(domain):
    with pytest.raises(ValueError, match="'a' is .* no finite number of values; use choice"):
        space_of({"a": domain})


def test_objects_are_refused_and_constants_alone_too():
    with pytest.raises(ValueError, match="'a' chooses between objects such as {'k': 1}"):
        space_of({"a": tune.choice([{"k": 1}])})
    with pytest.raises(ValueError, match="constants only"):
        space_of({"a": 1})


def test_a_million_configurations_may_be_searched_and_no_more(monkeypatch):
    monkeypatch.setattr(param_space, "MOST_CONFIGURATIONS", 12)
    assert len(space_of({"a": tune.randint(0, 4), "b": tune.randint(0, 3)})) == 12
    with pytest.raises(ValueError, match="has 15 configurations, at most 12 can be .*give 'a' fewer than its 5 values"):
        space_of({"b": tune.randint(0, 3), "a": tune.randint(0, 5)})
    assert len(values(tune.randint(0, 12))) == 12
    with pytest.raises(ValueError, match="'k' alone has 13 values, at most 12"):
        values(tune.randint(0, 13))
    assert len(values(tune.quniform(0, 11, 1))) == 12
    with pytest.raises(ValueError, match="'k' alone has 20 values"):
        values(tune.quniform(0, 20, 1))


def test_the_most_is_a_million():
    assert param_space.MOST_CONFIGURATIONS == 1_000_000
    with pytest.raises(ValueError, match="alone has 1,000,000,000 values"):
        values(tune.randint(0, 10**9))

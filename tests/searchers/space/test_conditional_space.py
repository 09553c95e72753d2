"""Spaces under conditions: the same configurations as by brute force, and absent knobs seen nowhere."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchers.base import History
from searchers.baselines.nearest import nearest_free
from searchers.meta.joint_grid import ABSENT, grid_over
from searchers.space import Condition, Config, Knob, Space, typed
from searchers.space.rows import NothingAllowed, NoValue, TooMany, allowed_rows

ENGINE = Knob("engine", ("vllm", "trt"), "categorical")
BLOCK = Knob("block", (8, 16, 32), when=Condition('engine == "vllm"'))
SWAP = Knob("swap", (1, 2), when=Condition("block <= 16"))  # two steps away from `engine`
TP = Knob("tp", (1, 2, 4))
CONDITIONS = [
    "tp * block <= 64",
    'engine == "vllm" or tp < 4',
    "not (swap == 2 and tp == 2)",
    "block in [8, 32] or tp > 1",
]


def by_hand(config: dict) -> dict:
    """The part of a full configuration that exists, by the rules of this file's knobs."""
    gone = set() if config["engine"] == "vllm" else {"block", "swap"}
    gone |= {"swap"} if config["block"] > 16 else set()
    return {name: value for name, value in config.items() if name not in gone}


def kept_by_hand(config: dict, text: str) -> bool:
    """Whether a condition allows a configuration: it does where it depends on what is not there."""
    match text:
        case "tp * block <= 64":
            return config["tp"] * config.get("block", 0) <= 64
        case 'engine == "vllm" or tp < 4':
            return config["engine"] == "vllm" or config["tp"] < 4
        case "not (swap == 2 and tp == 2)":
            return not (config.get("swap") == 2 and config["tp"] == 2)
    return config.get("block", 8) in (8, 32) or config["tp"] > 1


@given(st.permutations([ENGINE, BLOCK, SWAP, TP]), st.lists(st.sampled_from(CONDITIONS), unique=True))
def test_a_space_under_conditions_has_what_brute_force_finds(knobs, texts):
    space = Space(knobs, where=[Condition(text) for text in texts])
    full = [dict(zip([k.name for k in knobs], v, strict=True)) for v in itertools.product(*(k.values for k in knobs))]
    expected = {typed(by_hand(config)) for config in full}
    expected = {key for key in expected if all(kept_by_hand({n: v for n, _, v in key}, text) for text in texts)}
    found = [space[i] for i in range(len(space))]
    assert len(found) == len(expected) and {typed(config) for config in found} == expected
    assert [space.position(config) for config in found] == list(range(len(space)))


def test_matrices_tell_what_is_not_there_from_a_first_value():
    space = Space([ENGINE, BLOCK])
    assert [space[i] for i in range(4)] == [
        {"engine": "vllm", "block": 8}, {"engine": "vllm", "block": 16}, {"engine": "vllm", "block": 32},
        {"engine": "trt"},
    ]  # fmt: skip
    assert space.ranks.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0]]
    assert space.exists.tolist() == [[True, True]] * 3 + [[True, False]]
    assert space.features[3].tolist() == [0, 1, 3]  # as with a block of 8
    assert grid_over(space, ()).ranks[3].tolist() == [1, ABSENT]
    assert Space([ENGINE, TP]).exists.all()


def test_neighbours_differ_in_one_knob_of_those_that_both_have():
    space = Space([ENGINE, BLOCK, TP])
    at = space.position({"engine": "trt", "tp": 2})
    near = [space[i] for i in space.neighbours(at)]
    assert near == [{"engine": "vllm", "block": b, "tp": 2} for b in BLOCK.values] + [
        {"engine": "trt", "tp": 1}, {"engine": "trt", "tp": 4}
    ]  # fmt: skip


def test_a_subset_keeps_what_is_not_there():
    space = Space([ENGINE, BLOCK]).subset(np.array([1, 3]))
    assert [space[i] for i in range(2)] == [{"engine": "vllm", "block": 16}, {"engine": "trt"}]


def test_listed_configurations_say_themselves_what_is_not_there():
    listed: list[Config] = [{"engine": "trt"}, {"engine": "vllm", "block": 32}]
    space = Space([ENGINE, Knob("block", (8, 16, 32))], listed)
    assert [space[space.position(config)] for config in listed] == listed
    others: list[Config] = [
        {"engine": "vllm"},
        {"engine": "trt", "block": 8},
        {"block": 8},
        {"engine": "trt", "blok": 8},
    ]
    for other in others:
        with pytest.raises(KeyError):
            space.position(other)


def test_what_is_wished_of_a_knob_that_is_not_there_does_not_count():
    space = Space([ENGINE, BLOCK])
    rng = np.random.default_rng(0)
    assert nearest_free(space, np.array([1, 2]), History(), rng) == 3
    assert nearest_free(space, np.array([0, 2]), History(), rng) == 2


def test_conditions_that_leave_nothing_or_too_much_or_go_in_a_circle_are_refused():
    with pytest.raises(NothingAllowed):
        Space([ENGINE, TP], where=[Condition("tp > 4")])
    with pytest.raises(TooMany, match="more than 5 configurations"):
        allowed_rows([ENGINE, TP], (), most=5)
    assert len(allowed_rows([ENGINE, TP], [Condition("tp == 1")], most=5)) == 2
    with pytest.raises(
        NoValue, match="'4 / zero > 1' has no value where zero = 0 .a division by 0.*say what is to hold"
    ):
        Space([Knob("zero", (0, 1))], where=[Condition("4 / zero > 1")])
    with pytest.raises(ValueError, match="depends on the next one here: x → y → x; break the circle"):
        Space([Knob("x", (1, 2), when=Condition("y == 1")), Knob("y", (1, 2), when=Condition("x == 1"))])
    with pytest.raises(ValueError, match="no knob 'z'"):
        Space([Knob("x", (1, 2), when=Condition("z == 1"))])
    with pytest.raises(ValueError, match="too many combinations to number"):
        Space([Knob(f"k{i}", (1, 2, 3)) for i in range(50)])


def test_what_another_condition_rules_out_needs_no_value():
    space = Space([Knob("zero", (0, 1))], where=[Condition("4 / zero > 1"), Condition("zero != 0")])
    assert len(space) == 1


def test_knobs_of_engines_do_not_multiply():
    """Five engines with five knobs of four values each: 5 * 4^25 combinations, of which 5 * 4^5 exist."""
    names = "abcde"
    own = [Knob(f"{e}{i}", (1, 2, 3, 4), when=Condition(f'e == "{e}"')) for e in names for i in range(5)]
    space = Space([Knob("e", tuple(names), "categorical"), *own])
    assert len(space) == 5 * 4**5
    assert all(len(space[i]) == 6 for i in range(0, len(space), 997))


def test_a_million_combinations_take_about_a_second_of_processor_time():
    knobs = [Knob(f"k{i}", (1, 2, 4, 8)) for i in range(9)] + [Knob("e", ("v", "w", "x", "y"), "categorical")]
    everything = Condition(" * ".join(f"k{i}" for i in range(9)) + ' <= 2 ** 18 and e != "x"')
    begun_s = time.process_time()
    space = Space(knobs, where=[everything])
    assert time.process_time() - begun_s < 3.0  # 0.3 s on an idle core; here it shares one
    assert 2**19 < len(space) < 3 * 4**9

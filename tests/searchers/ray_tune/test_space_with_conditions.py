"""TuneSearcher on a space with conditions: trials get what exists, and only what is allowed."""

from typing import Any

from searchers.baselines.random_search import RandomSearch
from searchers.ray_tune.tune_searcher import TuneSearcher
from searchers.space import Condition, Knob, Space


def test_a_trial_gets_what_exists_and_measured_points_may_leave_it_out(tmp_path):
    engine, size = Knob("engine", ("vllm", "trt"), "categorical"), Knob("size", (1, 2))
    block = Knob("cache/block", (8, 16), when=Condition('engine == "vllm"'))
    space = Space([engine, block, size], where=[Condition('engine == "vllm" or size == 1')])
    searcher = TuneSearcher(space, RandomSearch, metric="rps", mode="max")
    searcher.add_evaluated_point({"engine": "trt", "size": 1}, 3.0)
    assert [space[o.position] for o in searcher.history.observed] == [{"engine": "trt", "size": 1}]
    searcher.save(str(tmp_path / "state"))
    restored = TuneSearcher(space, RandomSearch, metric="rps", mode="max")
    restored.restore(str(tmp_path / "state"))
    configs: list[Any] = [restored.suggest(str(i)) for i in range(4)]
    assert sorted(configs, key=str) == [
        {"engine": "vllm", "cache": {"block": block}, "size": size} for block in (16, 8) for size in (1, 2)
    ]
    for i in range(4):
        restored.on_trial_complete(str(i), {"rps": 1.0})
    assert restored.suggest("5") == TuneSearcher.FINISHED

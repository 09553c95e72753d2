"""Lines fitted to times made by known lines; costs stored and found by what they were measured on; a real profile."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_deployments.models.context import ModelError
from serve_deployments.transform.costs.costs import Measured, load_costs, save_costs
from serve_deployments.transform.costs.line import Line, Timed, fitted
from serve_deployments.transform.live.memory import Mapped, Private
from serve_deployments.transform.profiling.profile import _cpu, costs_here, measured_here, profiled
from serve_deployments.transform.registered.model_store import ModelStore
from tests.serve_deployments.transform.conftest import made_up_costs

POSITIVE = st.floats(1e-7, 1e-2)


@given(POSITIVE, st.floats(1e-12, 1e-8))
def test_times_that_lie_on_a_line_give_that_line(each_s, byte_s):
    line = Line(each_s, byte_s)
    times = [Timed(n, size, line.seconds(n, size)) for n, size in ((1, 1000), (3, 10**6), (50, 10**8))]
    found = fitted(times)
    assert found.each_s == pytest.approx(each_s, rel=1e-4, abs=1e-12)
    assert found.byte_s == pytest.approx(byte_s, rel=1e-4, abs=1e-16)


def test_a_line_has_no_negative_part_and_fits_small_times_as_well_as_large_ones():
    # Through (1, 1 MB, 2 ms) and (1, 2 MB, 3 ms) leads 1 ms + 1 ms/MB; a fit of absolute errors would miss the first.
    assert fitted([Timed(1, 10**6, 2e-3), Timed(1, 2 * 10**6, 3e-3)]).each_s == pytest.approx(1e-3)
    falling = fitted([Timed(1, 10**6, 3e-3), Timed(1, 2 * 10**6, 2e-3)])
    assert falling.byte_s == 0 and 2e-3 < falling.each_s < 3e-3
    with pytest.raises(ValueError, match="without a measured time"):
        fitted([Timed(1, 1, 0.0)])
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="0 s or more"):
            Line(wrong)


def test_costs_are_found_again_where_they_hold_and_nowhere_else(tmp_path):
    path, costs = tmp_path / "new" / "costs.json", made_up_costs(add_other=Line(3e-5, 1e-9))
    costs = replace(costs, add={"torch.nn.modules.linear.Linear": Line(1e-4, 2e-9)}, replica_s=6.0)
    wanted = costs.measured
    assert load_costs(path, wanted) is None
    save_costs(path, costs)
    assert load_costs(path, replace(wanted, date="2030-01-01")) == costs
    for other in ({"device": "cuda"}, {"storage": "disk"}, {"machine": "another"}, {"torch": "9"}):
        assert load_costs(path, replace(wanted, **other)) is None
    save_costs(path, replace(costs, measured=Measured("cuda", "cache", "GPU", "0")))
    assert load_costs(path, wanted) == costs and len(json.loads(path.read_text())) == 2
    assert costs.adding("torch.nn.modules.linear.Linear").each_s == 1e-4 and costs.adding("other").each_s == 3e-5


@pytest.mark.parametrize("text", ["[]", "{", '{"cpu | cache | made up | 0": {"check": {}}}'])
def test_a_file_that_is_no_table_of_costs_is_refused_with_the_remedy(tmp_path, text):
    path = tmp_path / "costs.json"
    path.write_text(text)
    with pytest.raises(ModelError, match="remove it, and .*measured again"):
        load_costs(path, made_up_costs().measured)


def test_a_profile_is_measured_once_and_left_without_files(tmp_path, monkeypatch):
    monkeypatch.setattr("serve_deployments.transform.profiling.profile.SIZES", ((1, 16), (4, 256), (1, 1024)))
    store = ModelStore(tmp_path)
    costs = costs_here(store)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["costs.json"]
    # Building a layer with initial values is more than building it without, and copying more than pointing.
    assert costs.copy.seconds(1, 4 << 20) > costs.bind.seconds(1)
    assert costs.adding("torch.nn.modules.linear.Linear").seconds(1, 4 << 20) > costs.structure.seconds(1)
    assert all(line.each_s + line.byte_s > 0 for line in (costs.check, costs.bind, costs.map, costs.edge, costs.fresh))
    monkeypatch.setattr("serve_deployments.transform.profiling.profile.profiled", None)
    assert costs_here(ModelStore(tmp_path)) == costs


def test_a_profile_of_the_disk_reads_what_was_put_out_of_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("serve_deployments.transform.profiling.profile.SIZES", ((1, 16),))
    evicted = []
    monkeypatch.setattr("os.posix_fadvise", lambda *given: evicted.append(given[1:3]))
    assert profiled(tmp_path, Private(), "disk").measured.storage == "disk"
    assert set(evicted) == {(0, 0)} and len(evicted) >= 5
    with pytest.raises(ValueError, match='"cache" or "disk"'):
        profiled(tmp_path, Private(), "tape")


def test_mapped_and_own_memory_have_costs_of_their_own():
    assert measured_here(Mapped(), "cache").key != measured_here(Private(), "cache").key
    assert _cpu(["flags : x", "model name\t: Some CPU @ 2 GHz"]) == "Some CPU @ 2 GHz" and _cpu([])

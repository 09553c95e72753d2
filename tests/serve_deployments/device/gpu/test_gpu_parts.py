"""Parts of a GPU: as many as make one fit on it with all that CUDA has there; what MPS gives is asked of the driver."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cluster.fakes import FakeDevice, FakeNvml
from serve_deployments.device.gpu import card, driver, limits, mps, outside, share
from serve_deployments.device.gpu.limits import enforce_gpu
from serve_deployments.device.gpu.mps import under_mps
from serve_deployments.device.gpu.outside import LEAST_BYTES, cap_fraction, outside_bytes
from serve_deployments.endpoint import is_out_of_memory
from serve_deployments.fakes.fake_cuda import FakeCuda
from serve_deployments.fakes.fake_torch import FakeTorch
from serve_deployments.settings import Settings

GIB = 2**30


@pytest.fixture(autouse=True)
def a_new_process(monkeypatch, tmp_path):
    """It has not used its GPU yet, and sees no lock of another."""
    monkeypatch.setattr(outside, "lock_folder", lambda: tmp_path / "locks")
    monkeypatch.setattr(outside, "_found", None)
    monkeypatch.setattr(share, "_held", {})
    monkeypatch.setattr(share, "_now", [])


def on(monkeypatch, cores=None, **about):
    """torch on a GPU, with the driver that it has and an NVML that tells so many CUDA cores."""
    torch = FakeTorch(FakeCuda(uuid="1", **about))
    monkeypatch.setattr(driver, "library", lambda: torch.driver)
    nvml = FakeNvml([FakeDevice("another", 16, cores=1), FakeDevice("this", 16, cores=cores)])
    monkeypatch.setattr(card, "_binding", lambda: nvml)
    return torch


def of_memory(part):
    return Settings(gpu_type="T4", gpu_memory=part)


@given(st.integers(1, 8), st.floats(8, 192), st.floats(0.1, 2.0), st.booleans())
def test_as_many_processes_as_their_parts_make_one_gpu_fit_on_it_with_all_that_cuda_takes(
    count, total_gib, context_gib, has_nvml
):
    assume(total_gib / count > 2.1 and (has_nvml or context_gib * GIB <= LEAST_BYTES))
    total, context, taken = int(total_gib * GIB), int(context_gib * GIB), 0
    for _ in range(count):
        outside._found = None  # each is a process of its own
        torch = FakeTorch(FakeCuda(total, taken, context_bytes=context, has_nvml=has_nvml))
        taken += int(cap_fraction(of_memory(1 / count), torch) * total) + context
    assert taken <= total + count


def test_what_cuda_takes_is_found_once_and_other_processes_are_not_counted():
    torch = FakeTorch(FakeCuda(others_bytes=8 * GIB, context_bytes=3 * GIB // 4))
    assert outside_bytes(torch) == 3 * GIB // 4
    torch.cuda.context_bytes += GIB  # libraries of its model, by now
    assert cap_fraction(of_memory(0.5), torch) == pytest.approx(0.5 - 0.75 / 16)


@pytest.mark.parametrize(
    "about", [{"has_nvml": False, "context_bytes": GIB}, {"context_bytes": GIB // 4}], ids=["untold", "less"]
)
def test_where_nothing_tells_what_cuda_takes_or_less_it_is_the_usual(about):
    assert outside_bytes(FakeTorch(FakeCuda(**about))) == LEAST_BYTES


def test_less_than_cuda_itself_takes_is_a_lack_of_memory_with_its_remedy(monkeypatch):
    torch = on(monkeypatch, context_bytes=GIB // 2)
    said = r"0\.03 of 16 GiB is 0\.48 GiB, and CUDA .* 0\.50 GiB .*raise gpu_memory"
    with pytest.raises(MemoryError, match=said) as no:
        enforce_gpu(of_memory(0.03), torch)
    assert is_out_of_memory(no.value)


@pytest.mark.parametrize("part", [0.25, 1])
def test_the_cap_is_on_all_of_the_process_and_the_trial_says_so(monkeypatch, part):
    torch = on(monkeypatch, context_bytes=GIB // 2)
    [told] = enforce_gpu(of_memory(part), torch)
    assert torch.cuda.fraction == pytest.approx(part - 0.5 / 16)
    assert told.enforced and told.asked == f"{part:g}" and "0.50 GiB of it left to CUDA itself" in told.how


SHARE = Settings(gpu_type="T4", gpu_share=0.25)


def test_a_client_of_mps_says_how_many_multiprocessors_it_has_and_makes_no_share_of_its_share(monkeypatch):
    torch = on(monkeypatch, multiprocessors=10, mps=True, cores=40 * 128)
    [told] = enforce_gpu(SHARE, torch)
    assert told.enforced and told.given == "10 multiprocessors" and "MPS" in told.how
    assert torch.cuda.created == [] and share.held_stream() is None


@pytest.mark.parametrize(("major", "enforced"), [(6, False), (7, True), (8, True), (12, True)])
def test_mps_limits_nobody_to_a_share_before_volta(monkeypatch, major, enforced):
    [told] = enforce_gpu(SHARE, on(monkeypatch, multiprocessors=10, major=major, mps=True, cores=40 * 128))
    assert told.enforced is enforced and ("before Volta" in told.how) is not enforced


@pytest.mark.parametrize(("cores", "said"), [(40 * 128, "all 40"), (None, "NVML does not tell")])
def test_a_client_of_mps_that_is_not_shown_to_have_less_than_the_card_is_not_said_to_be_held(monkeypatch, cores, said):
    [told] = enforce_gpu(SHARE, on(monkeypatch, multiprocessors=40, mps=True, cores=cores))
    assert not told.enforced and said in told.how and told.given == "40 multiprocessors"


@pytest.mark.parametrize("told_by_driver", [False, None])
def test_without_mps_on_its_node_a_replica_is_confined_whatever_other_nodes_have(monkeypatch, told_by_driver):
    torch = on(monkeypatch, mps=told_by_driver)
    [told] = enforce_gpu(SHARE, torch)
    assert told.enforced and "green context" in told.how and torch.cuda.created == [32]


@pytest.mark.parametrize(
    ("mps_runs", "device", "is_client"), [(True, 1, True), (False, 1, False), (None, 1, False), (True, 0, False)]
)
def test_whether_a_process_is_a_client_of_mps_is_what_the_driver_says_of_its_gpu(
    monkeypatch, mps_runs, device, is_client
):
    """The fake's only GPU has number 1."""
    on(monkeypatch, mps=mps_runs)
    assert under_mps(device) is is_client


def test_a_machine_without_a_driver_has_no_mps(monkeypatch):
    def missing():
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(driver, "library", missing)
    assert under_mps(0) is False


def test_the_attribute_is_cudas():
    """From CUDA 12's cuda.h: `CU_DEVICE_ATTRIBUTE_MPS_ENABLED = 133`."""
    assert mps._MPS_ENABLED == 133 and limits.LEAST_CAPABILITY == 7

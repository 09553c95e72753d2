"""What CUDA takes for a process beside neighbours that start at the same time, and how large the whole card is."""

import os

import pytest

from cluster.fakes import FakeDevice, FakeNvml
from serve_deployments.device.core_locks import prepared, try_lock
from serve_deployments.device.gpu import card, outside
from serve_deployments.device.gpu.outside import outside_bytes
from serve_deployments.fakes.fake_cuda import FakeCuda
from serve_deployments.fakes.fake_torch import FakeTorch

GIB = 2**30


class Crowded(FakeCuda):
    """A GPU of which neighbours take 5 GiB while this process finds out what it has.

    Args:
        seen: what to note as they do.
    """

    def __init__(self, seen=lambda: None):
        super().__init__(context_bytes=GIB, uuid="1")
        self.seen = seen

    def synchronize(self):
        super().synchronize()
        self.others_bytes += 5 * GIB
        self.seen()


class Books(FakeNvml):
    """NVML of two cards that tells what each process has of the second."""

    def __init__(self, torch, pid):
        super().__init__([FakeDevice("another", 16), FakeDevice("this", 16)])
        self.torch, self.pid = torch, pid

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        own = self.torch.cuda.context_bytes + self.torch.cuda.memory_reserved()
        self.devices[1].processes = ((1, 5 * GIB), (self.pid, own))
        return super().nvmlDeviceGetComputeRunningProcesses(handle)


@pytest.fixture
def locks(monkeypatch, tmp_path):
    monkeypatch.setattr(outside, "_found", None)
    monkeypatch.setattr(outside, "lock_folder", lambda: tmp_path / "locks")
    monkeypatch.setattr(card, "_namespace", lambda: card._FIRST_NAMESPACE)
    return tmp_path / "locks"


def test_what_neighbours_take_meanwhile_is_not_what_cuda_takes_for_this_process(locks, monkeypatch):
    torch = FakeTorch(Crowded())
    books = Books(torch, os.getpid())
    monkeypatch.setattr(card, "_binding", lambda: books)
    assert outside_bytes(torch) == GIB and books.open == 0


@pytest.mark.parametrize(
    "about",
    [
        {"processes": ((2, 3 * GIB),)},
        {"processes": ((os.getpid(), None),)},
        {"processes": ((os.getpid(), 3 * GIB),), "refuses": ("nvmlDeviceGetComputeRunningProcesses",)},
    ],
    ids=["not listed", "no bytes", "refused"],
)
def test_where_nvml_does_not_tell_of_this_process_the_difference_counts(locks, monkeypatch, about):
    nvml = FakeNvml([FakeDevice("another", 16), FakeDevice("this", 16, **about)])
    monkeypatch.setattr(card, "_binding", lambda: nvml)
    assert outside_bytes(FakeTorch(FakeCuda(context_bytes=GIB, uuid="1"))) == GIB and nvml.open == 0


def test_in_a_container_a_process_of_the_machine_with_the_same_number_is_not_taken_for_this_one(locks, monkeypatch):
    nvml = FakeNvml([FakeDevice("another", 16), FakeDevice("this", 16, processes=((os.getpid(), 3 * GIB),))])
    monkeypatch.setattr(card, "_binding", lambda: nvml)
    monkeypatch.setattr(card, "_namespace", lambda: "pid:[4026532000]")
    assert outside_bytes(FakeTorch(FakeCuda(context_bytes=GIB, uuid="1"))) == GIB


def test_while_it_is_found_out_the_card_is_locked_for_replicas_that_would_do_the_same(locks):
    tried = []
    outside_bytes(FakeTorch(Crowded(lambda: tried.append(try_lock(locks, "GPU-1")))))
    assert tried == [None]
    after = try_lock(locks, "GPU-1")
    assert after is not None
    after.close()


def test_a_lock_that_is_never_given_back_or_cannot_be_had_stops_nobody(locks, monkeypatch):
    monkeypatch.setattr(outside, "LOCK_WAIT_S", 0.0)
    held = try_lock(prepared(locks), "GPU-1")
    assert held is not None and outside_bytes(FakeTorch(FakeCuda(context_bytes=GIB, uuid="1"))) == GIB
    held.close()
    monkeypatch.setattr(outside, "_found", None)
    (locks.parent / "file").touch()
    monkeypatch.setattr(outside, "lock_folder", lambda: locks.parent / "file")
    assert outside_bytes(FakeTorch(FakeCuda(context_bytes=GIB, uuid="1"))) == GIB


@pytest.mark.parametrize(
    ("cores", "major", "minor", "count"),
    [
        (5120, 7, 0, 80), (2560, 7, 5, 40), (6912, 8, 0, 108), (9216, 8, 6, 72), (7424, 8, 9, 58),
        (16896, 9, 0, 132), (18944, 10, 0, 148),
    ],
    ids=["V100", "T4", "A100", "A10", "L4", "H100", "B200"],
)  # fmt: skip
def test_multiprocessors_of_cards_are_those_of_their_datasheets(monkeypatch, cores, major, minor, count):
    torch = FakeTorch(FakeCuda(major=major, uuid="0"))
    torch.cuda.properties.minor = minor
    monkeypatch.setattr(card, "_binding", lambda: FakeNvml([FakeDevice("this", 16, cores=cores)]))
    assert card.multiprocessors(torch) == count
    torch.cuda.properties.uuid = None
    assert card.multiprocessors(torch) is None

import os
import socket
import sys

import pytest

from cluster import nvml
from cluster.fakes import FakeDevice, FakeNvml
from cluster.torch_build import TorchBuild


def test_no_driver_is_no_devices():
    assert nvml.devices(FakeNvml(driver=False)) == ()


def test_devices():
    one, three = (
        FakeDevice(f"NVIDIA A100-SXM4-80GB MIG {p}", gib) for p, gib in (("1g.10gb", 9.5), ("3g.40gb", 39.25))
    )
    cut = FakeDevice("NVIDIA A100-SXM4-80GB", 79.5, mig=True, slices=(three, None, one, None), capability=(8, 0))
    empty = FakeDevice("NVIDIA A100-SXM4-80GB", 79.5, mig=True, slices=(None,) * 7)
    fake = FakeNvml([FakeDevice("Tesla T4", 15.0, capability=(7, 5)), cut, empty])
    # What is split is its slices, and nothing where it has none.
    assert nvml.devices(fake) == (
        nvml.Device(0, "Tesla T4", 15.0, False, (7, 5)),
        nvml.Device(1, "NVIDIA A100-SXM4-80GB MIG 3g.40gb", 39.25, True, (8, 0)),
        nvml.Device(1, "NVIDIA A100-SXM4-80GB MIG 1g.10gb", 9.5, True, (8, 0)),
    )
    assert fake.open == 0  # every init has its shutdown


@pytest.mark.parametrize("call", ["nvmlDeviceGetHandleByIndex", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetName"])
def test_a_card_that_does_not_answer_hides_no_other_and_is_said(call, monkeypatch):
    monkeypatch.setattr(nvml, "torch_here", lambda: None)
    t4, lost = FakeDevice("Tesla T4", 15.0), FakeDevice("Tesla T4", 15.0, refuses=(call,))
    told = nvml.reading(FakeNvml([t4, lost, t4]))
    assert [each.index for each in told.devices] == [0, 2]
    assert told.silent == ("GPU 1 does not answer NVML: Unknown Error",)
    assert nvml.reading(FakeNvml([t4])).silent == ()


def test_a_slice_that_does_not_answer_hides_no_other_of_its_card(monkeypatch):
    monkeypatch.setattr(nvml, "torch_here", lambda: None)
    good, lost = FakeDevice("MIG 1g", 9.5), FakeDevice("MIG 2g", 19.5, refuses=("nvmlDeviceGetMemoryInfo",))
    told = nvml.reading(FakeNvml([FakeDevice("A100", 79.5, mig=True, slices=(good, lost, good))]))
    assert [each.name for each in told.devices] == ["MIG 1g"] * 2
    assert told.silent == ("GPU 0, slice 1, does not answer NVML: Unknown Error",)


def test_mps_by_socket(tmp_path):
    assert not nvml.mps_running(tmp_path)
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as daemon:
            daemon.bind(str(tmp_path / "control"))
            daemon.listen()
            daemon.settimeout(0)
            assert nvml.mps_running(tmp_path)
        assert not nvml.mps_running(tmp_path)  # the daemon is gone, its socket file is not
        (tmp_path / "control").unlink()


def test_mps_by_fifo(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "control")
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert not nvml.mps_running()
    reader = os.open(tmp_path / "control", os.O_RDONLY | os.O_NONBLOCK)
    assert nvml.mps_running()
    os.close(reader)


@pytest.mark.parametrize(
    ("told", "place"), [(None, "/tmp/nvidia-mps"), ("", "/tmp/nvidia-mps"), ("/run/own-mps", "/run/own-mps")]
)
def test_a_daemon_is_looked_for_where_cuda_has_it_unless_another_place_is_told(monkeypatch, told, place):
    knocked = []

    def knock(path):
        knocked.append(str(path))
        return True

    for kind in ("_fifo_read", "_socket_bound"):  # either: this machine may have a daemon of its own
        monkeypatch.setattr(nvml, kind, knock)
    if told is None:
        monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    else:
        monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", told)
    assert nvml.mps_running() and knocked == [f"{place}/control"]


def test_a_session_ends_also_where_a_call_fails():
    class Broken(FakeNvml):
        def nvmlDeviceGetName(self, handle):
            raise RuntimeError("driver lost")

    broken = Broken([FakeDevice("Tesla T4", 15.0)])
    with pytest.raises(RuntimeError, match="driver lost"):
        nvml.devices(broken)
    assert broken.open == 0


def test_a_card_that_can_be_cut_and_is_not_is_whole_and_names_may_be_bytes():
    class Older(FakeNvml):
        def nvmlDeviceGetName(self, handle):
            return handle.name.encode()

    (a100,) = nvml.devices(Older([FakeDevice("NVIDIA A100-SXM4-80GB", 79.5, mig=False)]))
    assert (a100.name, a100.mig) == ("NVIDIA A100-SXM4-80GB", False)


def test_without_the_binding_there_are_no_devices(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvml.devices() == ()


def test_a_reading_is_of_devices_and_mps_together(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    fake = FakeNvml([FakeDevice("Tesla T4", 15.0)])
    build = TorchBuild("2", ("sm_75",))
    monkeypatch.setattr(nvml, "torch_here", lambda: build)
    assert nvml.reading(fake) == nvml.NodeGpus(nvml.devices(fake), has_mps=False, torch=build)
    assert nvml.reading(FakeNvml()).torch is None  # where there is no GPU it is not imported
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as daemon:
        daemon.bind(str(tmp_path / "control"))
        daemon.listen()
        assert nvml.reading(fake).has_mps

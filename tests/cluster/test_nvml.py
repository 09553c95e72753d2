import os
import socket

from cluster import nvml
from cluster.fakes import FakeDevice, FakeNvml


def test_no_driver_is_no_devices():
    assert nvml.devices(FakeNvml(driver=False)) == ()
    assert nvml.usage(FakeNvml(driver=False)) == ()


def test_devices():
    fake = FakeNvml([FakeDevice("Tesla T4", 15.0), FakeDevice("NVIDIA A100-SXM4-80GB", 79.5, mig=True)])
    assert nvml.devices(fake) == (
        nvml.Device(0, "Tesla T4", "GPU-0", 15.0, False),
        nvml.Device(1, "NVIDIA A100-SXM4-80GB", "GPU-1", 79.5, True),
    )
    assert fake.open == 0  # every init has its shutdown


def test_usage():
    fake = FakeNvml(
        [FakeDevice("Tesla T4", 15.0, 3.0, 40, {7: 2 * nvml.GIB, 8: None}), FakeDevice("A100", 80.0, 1.0, 90, mig=True)]
    )
    t4, a100 = nvml.usage(fake)
    assert t4 == nvml.Usage("GPU-0", 3.0, 0.4, {7: 2.0, 8: 0.0})
    assert a100.utilisation == 0.0  # not kept while MIG is on


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

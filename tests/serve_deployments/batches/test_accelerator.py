"""What batches ask of CUDA, by the books of a torch whose GPU is not there, and which refuses what CUDA refuses."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from serve_deployments.batches import accelerator
from serve_deployments.batches.accelerator import Cuda


class Stream:
    """One of torch.cuda's; equal to no other."""

    def __init__(self, device, name="new"):
        self.device, self.name, self.waits_for = device, name, []

    def wait_stream(self, other):
        self.waits_for.append(other.name)


class FakeTorch:
    """Of torch what `Cuda` asks for.

    Args:
        own: this thread was given a stream of its own, as a green context's.
    """

    uint8 = "bytes"

    def __init__(self, own=False):
        self.cuda = self
        self.default = Stream("cuda:1", "default")
        self.current = Stream("cuda:1", "of the share") if own else self.default
        self.pools, self.captured, self.capturing = 0, [], None
        self.fails: Exception | None = None

    def device(self, name):
        return name

    def empty(self, size, *, dtype, device="cpu", pin_memory=False):
        if pin_memory and device != "cpu":
            raise RuntimeError("only dense CPU tensors can be pinned")
        return (size, dtype, device, "pinned" if pin_memory else "pageable")

    def current_stream(self, device):
        return self.current

    def default_stream(self, device):
        return self.default

    def Stream(self, device):
        return Stream(device)

    @contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream
        yield
        self.current = before

    def Event(self, blocking=False):
        return "an event whose waiter " + ("sleeps" if blocking else "spins")

    def graph_pool_handle(self):
        self.pools += 1
        return self.pools

    def CUDAGraph(self):
        return SimpleNamespace(replay=lambda: self.captured.append("replayed"))

    @contextmanager
    def graph(self, graph, *, pool, stream, capture_error_mode="global"):
        if stream is self.default:
            raise RuntimeError("operation not permitted on the legacy default stream")
        if capture_error_mode != "thread_local":
            raise RuntimeError("another thread waits for the batch before: operation not permitted when capturing")
        with self.stream(stream):
            self.capturing = (pool, stream.name)
            try:
                yield
            finally:
                self.capturing = None


@pytest.fixture
def gpu(monkeypatch):
    """(torch, Cuda) of a thread with a stream of its own, or without."""

    def made(own=False):
        torch = FakeTorch(own)
        monkeypatch.setattr(accelerator, "torch", torch)
        return torch, Cuda("cuda:1")

    return made


def test_memory_is_page_locked_on_the_host_and_torchs_own_on_the_device(gpu):
    _, cuda = gpu()
    assert cuda.staging(10) == (10, "bytes", "cpu", "pinned")
    assert cuda.memory(20) == (20, "bytes", "cuda:1", "pageable")


@pytest.mark.parametrize(("own", "name"), [(False, "new"), (True, "of the share")])
def test_a_model_computes_in_a_stream_of_its_own_and_stays_in_that_of_its_share(gpu, own, name):
    """The default stream neither overlaps with others nor can be recorded; weights may still be on their way there."""
    torch, cuda = gpu(own)
    stream = cuda.compute_stream()
    assert (stream.name, stream.device, stream.waits_for) == (name, "cuda:1", ["default"])
    copies = cuda.copy_stream()
    assert copies is not stream and (copies.name, copies.device, copies.waits_for) == ("new", "cuda:1", [])
    with cuda.on(copies):
        assert torch.current is copies
    assert torch.current is not copies


def test_who_waits_for_a_gpu_leaves_the_core_to_others(gpu):
    _, cuda = gpu()
    assert cuda.event() == "an event whose waiter sleeps"


def test_a_copy_is_not_waited_for(gpu):
    _, cuda = gpu()
    copied = []
    cuda.copy(SimpleNamespace(copy_=lambda source, non_blocking: copied.append((source, non_blocking))), "source")
    assert copied == [("source", True)]


def test_graphs_are_recorded_in_the_stream_that_computes_and_share_their_scratch_memory(gpu):
    torch, cuda = gpu()
    stream, seen = cuda.compute_stream(), []
    first = cuda.capture(lambda: seen.append(torch.capturing), stream)
    second = cuda.capture(lambda: seen.append(torch.capturing), stream)
    assert seen == [(1, "new"), (1, "new")] and torch.captured == []
    first()
    second()
    assert torch.captured == ["replayed", "replayed"]


@pytest.mark.parametrize("error", [RuntimeError("operation not permitted"), KeyboardInterrupt()])
def test_after_a_recording_that_failed_the_next_one_has_new_memory(gpu, error):
    torch, cuda = gpu()
    stream, seen = cuda.compute_stream(), []

    def fails():
        seen.append(torch.capturing)
        raise error

    for run in (lambda: seen.append(torch.capturing), fails, lambda: seen.append(torch.capturing)):
        try:
            cuda.capture(run, stream)
        except type(error) as raised:
            assert raised is error and run is fails
    assert [pool for pool, _ in seen] == [1, 1, 2]

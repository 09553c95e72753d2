"""Traces of torch: real batches with known operators, and events of a GPU that is not there."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from cluster.operators.kinds import OUTSIDE, UNMAPPED
from cluster.operators.operator_call import Tensor
from cluster.operators.profile import profile_of
from cluster.operators.torch_trace import Event, trace_of, traced


def trace(run, batch=4):
    with torch.inference_mode():
        run()
        return traced(run, batch)


def test_an_operator_owns_what_it_calls():
    net, x = torch.nn.Linear(8, 16), torch.randn(4, 8)
    found = trace(lambda: torch.relu(net(x)))
    assert [call.name for call in found.calls] == ["aten::linear", "aten::relu"]
    assert [call.kind for call in found.calls] == ["dense", "relu"]
    assert all(call.time_s > 0 for call in found.calls)
    assert sum(call.time_s for call in found.calls) + found.outside_s == pytest.approx(found.traced_s)


def test_names_that_stand_for_others_leave_them_to_themselves():
    x = torch.randn(2, 3, 4)
    found = trace(lambda: torch.einsum("bij,bkj->bik", x, x))
    assert "batch_matmul" in {call.kind for call in found.calls} and found.dispatch_s > 0


def test_time_outside_of_operators_is_seen():
    x = torch.randn(4)

    def run():
        time.sleep(0.05)
        return x + 1

    found = trace(run)
    assert 0.05 <= found.outside_s < found.traced_s
    assert profile_of(found, 0.05).lines[0].kind == OUTSIDE


def test_weights_that_layers_share_count_once_and_activations_do_not():
    shared, x = torch.nn.Linear(32, 32), torch.randn(4, 32)
    found = profile_of(trace(lambda: shared(shared(shared(x + 0)))), 1.0)
    [dense] = [line for line in found.lines if line.kind == "dense"]
    assert (dense.calls, dense.weight_bytes) == (3, 4 * (32 * 32 + 32))


def test_the_peak_is_what_is_held_at_once():
    x = torch.randn(1000)

    def run():
        a = x + 1  # 4,000 bytes
        b = torch.cat([a, a])  # 8,000 more
        del a
        return b * 2  # 8,000 more, with 4,000 fewer: 16,000

    found = trace(run)
    assert found.peak_bytes == pytest.approx(16_000, abs=64)
    held = {call.name: call.held_bytes for call in found.calls}
    assert held["aten::add"] == 0 and held["aten::cat"] == 8000 and held["aten::mul"] == pytest.approx(8000, abs=64)


@torch.library.custom_op("operatortest::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(x) * 2


def test_an_unknown_operator_is_unmapped_and_what_it_calls_is_not():
    x = torch.randn(64, 64)
    found = trace(lambda: twice(x))
    kinds = {call.name: call.kind for call in found.calls}
    assert kinds["operatortest::twice"] == UNMAPPED and kinds["aten::sigmoid"] == "sigmoid"
    profile = profile_of(found, 1.0)
    assert 0 < profile.unmapped_share < 1


def test_on_a_gpu_time_is_that_of_the_kernels_whatever_started_them():
    weight = Tensor((8, 8), resident=7)
    inner = Event("aten::addmm", start_ns=20, took_ns=10, kernels_ns=4_000_000)
    linear = Event("aten::linear", start_ns=10, took_ns=50, arguments=(Tensor((2, 8)), weight), inner=[inner])
    unknown = Event("mylib::op", start_ns=70, took_ns=20, kernels_ns=1_000_000)
    found = trace_of([linear, unknown], 2, 0.006, device="cuda:0")
    assert [call.time_s for call in found.calls] == pytest.approx([0.004, 0.001])
    assert found.outside_s == pytest.approx(0.001) and found.device == "cuda"


def test_operators_in_a_thread_of_the_models_own_are_seen():
    net, x = torch.nn.Linear(64, 64), torch.randn(8, 64)
    with ThreadPoolExecutor(1) as pool:

        def run():
            with torch.inference_mode():
                return net(x)

        found = trace(lambda: pool.submit(run).result())
    assert [call.name for call in found.calls] == ["aten::linear"]
    assert found.outside_s == pytest.approx(found.traced_s - found.calls[0].time_s, abs=1e-6)


def test_time_in_two_threads_at_once_is_no_time_twice():
    def event(start, took, thread):
        return Event("aten::relu", start_ns=start, took_ns=took, thread=thread)

    found = trace_of([event(0, 100, 1), event(50, 100, 2), event(60, 20, 1), event(300, 10, 2)], 1, 400e-9)
    assert round(found.outside_s * 1e9) == 400 - 150 - 10


def test_a_compiled_graph_has_the_time_of_its_nameless_kernels_and_the_compiler_what_it_takes():
    product = Event("aten::addmm", took_ns=40, arguments=(Tensor((2,)), Tensor((3, 4)), Tensor((4, 2))))
    graph = Event("## Call CompiledFxGraph abc ##", is_operator=False, took_ns=100, inner=[product])
    region = Event("Torch-Compiled Region: 0/0", start_ns=20, took_ns=130, inner=[graph])
    found = trace_of([Event("TorchDynamo Cache Lookup", took_ns=20), region], 1, 200e-9)
    assert [(call.name, call.kind, round(call.time_s * 1e9)) for call in found.calls] == [
        ("compiled graph", "fused", 60), ("aten::addmm", "dense", 40),
    ]  # fmt: skip
    assert (round(found.dispatch_s * 1e9), round(found.outside_s * 1e9)) == (50, 50)


def test_memory_that_was_there_before_is_neither_held_nor_freed():
    event = Event("aten::add", took_ns=9, allocated=[(1, 100, 64), (3, 200, 32)])
    outside = Event("", is_operator=False, allocated=[(2, 999, -4096), (4, 100, -64), (5, 300, 16)])
    found = trace_of([event, outside], 1, 1.0)
    assert found.peak_bytes == 96 and found.calls[0].held_bytes == 96

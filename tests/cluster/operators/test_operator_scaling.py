"""Shapes that follow the batch, seen from two batches, tell those of any third."""

import pytest
import torch

from cluster.operators.operator_call import OperatorCall, Tensor, Work
from cluster.operators.scaling import NotAligned, Size, TensorClass, class_of_key, classes_of, inputs_among
from cluster.operators.torch_trace import traced
from cluster.operators.trace import Trace


class Net(torch.nn.Module):
    """Convolution, product, join, and heads of attention: what scales in its own way each."""

    def __init__(self):
        super().__init__()
        self.conv, self.dense = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Linear(8, 12)
        self.token = torch.nn.Parameter(torch.zeros(1, 1, 8))

    def forward(self, x):
        rows = self.conv(x).flatten(2).transpose(1, 2)
        rows = torch.cat([self.token.expand(len(x), -1, -1), rows], 1)
        query, key, value = self.dense(rows).reshape(len(x), -1, 3, 2, 2).permute(2, 0, 3, 1, 4)
        return torch.nn.functional.scaled_dot_product_attention(query, key, value).mean((1, 2)).softmax(-1)


def trace(batch):
    torch.manual_seed(0)
    net, x = NET, torch.randn(batch, 3, 4, 4)
    with torch.inference_mode():
        net(x)
        return traced(lambda: net(x), batch)


NET = Net().eval()


def test_the_shapes_of_a_third_batch_are_those_that_it_has():
    small, large, other = trace(2), trace(4), trace(7)
    for operator, seen in zip(classes_of(small, large), other.calls, strict=True):
        assert operator is not None
        told = operator.arguments(7, "float32")
        assert [t.sizes for t in seen.tensors] == [
            t.sizes for each in told for t in (each if isinstance(each, tuple) else (each,)) if isinstance(t, Tensor)
        ]
        assert operator.work(7, "float32").flops == seen.work.flops or not seen.work.known or not seen.work.flops


def test_a_class_is_restored_from_its_key_and_equal_calls_are_of_one_class():
    found = [each for each in classes_of(trace(2), trace(4)) if each is not None]
    assert [class_of_key(each.key) for each in found] == found
    assert len({each.key for each in found}) == len(set(found))
    with pytest.raises(ValueError, match="no key"):
        class_of_key("[1]")


def one(*sizes, name="aten::relu", batch):
    return Trace(batch, (OperatorCall(name, "relu", tuple(Tensor(s) for s in sizes), 1.0, Work(0, 0)),), 1.0)


def test_a_size_is_worked_out_by_hand():
    [found] = classes_of(one((2 * 10 + 1, 5), batch=2), one((6 * 10 + 1, 5), batch=6))
    assert found is not None and found.words == "[10 b + 1 x 5]"
    assert found.parts == (TensorClass((Size(10, 1), Size(0, 5)), "precision"),)


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (one((3,), batch=2), one((6,), name="aten::add", batch=4)),  # other operators
        (one((3,), batch=2), one((6, 1), batch=4)),  # other dimensions
        (one((3,), batch=2), one((4,), batch=4)),  # half a number for each payload
        (one((9,), batch=2), one((5,), batch=4)),  # fewer in a larger batch
        (one((0,), batch=2), one((8,), batch=4)),  # nothing left for a batch of one
    ],
)
def test_what_does_not_follow_the_batch_is_refused(small, large):
    with pytest.raises(NotAligned):
        classes_of(small, large)


def test_payloads_are_known_by_their_size():
    def batch(count):
        tensors = (Tensor((count, 3), resident=1), Tensor((5, 3), resident=2))
        return Trace(count, (OperatorCall("aten::linear", "dense", tensors, 1.0, Work(0, 0)),), 1.0)

    assert inputs_among(batch(2), batch(4)) == {1}

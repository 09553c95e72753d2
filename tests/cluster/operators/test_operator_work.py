"""FLOPs and bytes: against torch's own counter, and by hand."""

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from cluster.operators.operator_call import Tensor
from cluster.operators.torch_trace import traced
from cluster.operators.work import work_of

X, W = torch.randn(2, 5, 12), torch.randn(7, 12)
IMAGE = torch.randn(2, 4, 9, 11)


def counted(run):
    with torch.no_grad():
        run()
        return sum(call.work.flops for call in traced(run, 1).calls)


@pytest.mark.parametrize(
    "run",
    [
        lambda: functional.linear(X, W, torch.randn(7)), lambda: X[0] @ W.T, lambda: torch.einsum("bik,nk->bin", X, W),
        lambda: torch.bmm(X, X.transpose(1, 2)), lambda: torch.baddbmm(torch.randn(2, 5, 5), X, X.transpose(1, 2)),
        lambda: functional.conv2d(IMAGE, torch.randn(6, 4, 3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
        lambda: functional.conv2d(IMAGE, torch.randn(8, 1, 3, 3), groups=4),
        lambda: functional.conv2d(IMAGE, torch.randn(6, 4, 3, 3), padding="same"),
        lambda: functional.conv1d(X.transpose(1, 2), torch.randn(3, 12, 2)),
        lambda: functional.conv_transpose2d(IMAGE, torch.randn(4, 6, 3, 3), stride=2),
        lambda: functional.conv3d(torch.randn(1, 2, 5, 6, 7), torch.randn(3, 2, 2, 2, 2)),
    ],
)  # fmt: skip
def test_as_many_flops_as_torch_counts(run):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    assert counted(run) == counter.get_total_flops() > 0


def test_attention_is_both_of_its_products():
    query, key = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8)
    # 2 sequences, 3 heads: 5 x 7 scores of 8 multiply-adds, and 5 x 8 sums of 7.
    expected = 2 * 3 * 2 * (5 * 7 * 8 + 5 * 8 * 7)
    assert counted(lambda: functional.scaled_dot_product_attention(query, key, key)) == expected


def test_a_recurrent_network_has_each_matrix_in_each_step():
    net = torch.nn.LSTM(6, 4, batch_first=True).eval()
    steps = torch.randn(3, 5, 6)
    assert counted(lambda: net(steps)) == pytest.approx(2 * 3 * 5 * (4 * 4 * 6 + 4 * 4 * 4), rel=0.2)


def test_bytes_are_each_input_and_output_once():
    x, weight, bias = Tensor((4, 8)), Tensor((16, 8)), Tensor((16,))
    assert work_of("aten::linear", "dense", (x, weight, bias)).moved_bytes == 4 * (32 + 128 + 16 + 64)
    half = tuple(Tensor(each.sizes, "bfloat16") for each in (x, weight, bias))
    assert work_of("aten::linear", "dense", half).moved_bytes == 2 * (32 + 128 + 16 + 64)
    assert work_of("aten::add", "add", (Tensor((4, 1)), Tensor((1, 8)), 1)).moved_bytes == 4 * (4 + 8 + 32)


def test_an_embedding_reads_the_rows_that_it_looks_up_and_not_its_table():
    found = work_of("aten::embedding", "embedding", (Tensor((30000, 16)), Tensor((2, 5), "int64")))
    assert (found.flops, found.moved_bytes) == (0, 2 * 5 * 8 + 2 * (2 * 5 * 16 * 4))  # places; rows, both ways


def test_a_view_moves_nothing_and_a_copy_both_ways():
    assert work_of("aten::view", "data_movement", (Tensor((8, 8)), (64,))).moved_bytes == 0
    assert work_of("aten::cat", "concat", ((Tensor((2, 3)), Tensor((4, 3))), 0)).moved_bytes == 2 * 18 * 4


def test_without_a_formula_only_the_inputs_are_known():
    found = work_of("mylib::secret", "unmapped", (Tensor((8,)),))
    assert (found.known, found.flops, found.moved_bytes) == (False, 0, 32)
    assert not work_of("aten::linear", "dense", (Tensor((4, 8)), None)).known

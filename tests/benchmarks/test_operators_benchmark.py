"""The comparison of predictions with whole batches: its figures by hand, and its models."""

import pytest
import torch

from benchmarks.operators import nets
from benchmarks.operators.operators import MODELS, Compared, best, per, rank, row, service_of
from raytune_infer.operators.prediction import Predicted
from searchers.space import Config


def told(batch, seconds):
    return Predicted(batch, seconds, seconds / 1.1, seconds * 1.1, 1.0)


def test_figures_by_hand():
    assert rank([1, 2, 3], [10, 20, 30]) == 1 and rank([1, 2, 3], [30, 20, 10]) == -1
    assert best([5, 9, 1], [80, 90, 100]) == 0.9
    assert per([10, 30], [1, 2]) == [10, 15]
    configs: list[Config] = [{"cpu_cores": 1, "max_batch_size": b, "precision": "float32"} for b in (1, 2)]
    cells = row("m", Compared(configs, [10.0, 12.0], [told(1, 0.1), told(2, 0.25)], None, 7, (1, 2, 3)))
    #           configurations, rank, errors 0 and 8 / 12 - 1, one inside of its interval, best
    assert cells[:8] == ["m", "2", "-1.000", "17%", "33%", "50%", "83%", "83%"]
    assert cells[-2:] == ["7", "1 / 2 / 3"]


def test_every_model_is_a_service_with_the_plane_as_its_knobs(tmp_path):
    for name in MODELS:
        spec = service_of(name, tmp_path, [1, 4], [1]).spec
        assert (list(spec.values("max_batch_size")), list(spec.values("cpu_cores"))) == ([4, 1], [1])


@pytest.mark.parametrize("name", ["convolutional", "vision", "decoder"])
def test_networks_answer_each_payload(name):
    torch.manual_seed(0)
    answers = getattr(nets, name)()([0, 1])
    assert len(answers) == 2 and answers[0].shape in ((1000,), (nets.VOCABULARY,))

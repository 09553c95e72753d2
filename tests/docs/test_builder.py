"""The builder of docs/your-model.md, on a translator of a few weights that has learned nothing."""

import asyncio
from typing import Any

import pytest
import torch

from serve_deployments.models.context import ModelContext
from serve_deployments.models.live.live_model import LiveModel
from serve_deployments.models.model import Builder, load
from tests.docs.test_docs import YOUR_MODEL, blocks


@pytest.fixture
def checkpoint(tmp_path):
    """A folder as `save_pretrained` writes it."""
    transformers = pytest.importorskip("transformers", reason="the extra `transformers` has it")
    tokenizer = transformers.ByT5Tokenizer()  # bytes are its words, so it needs no file
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path / "weights")
    tokenizer.save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


@pytest.mark.parametrize("beams", [1, 2])
def test_it_answers_a_batch_with_each_of_its_arguments(checkpoint, tmp_path, monkeypatch, beams):
    [code] = [text for language, text in blocks(YOUR_MODEL) if language == "python" and "def build(checkpoint" in text]
    (tmp_path / "builder_of_the_page.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    args = {"checkpoint": str(checkpoint), "beams": beams}
    batch: Any = load(Builder("builder_of_the_page:build"), args, ModelContext())
    answers = batch([{"text": "a text"}, {"text": "another"}])
    assert len(answers) == 2 and all(isinstance(answer, str) for answer in answers)


@pytest.mark.parametrize("marked", ["class Engine", "class Client"])
def test_an_engine_and_a_model_that_is_closed_do_what_the_page_says(tmp_path, monkeypatch, marked):
    [code] = [text for language, text in blocks(YOUR_MODEL) if language == "python" and marked in text]
    module = marked.replace("class ", "page_with_").lower()
    (tmp_path / f"{module}.py").write_text(code.replace("18081", "0"))  # any port that is free
    monkeypatch.syspath_prepend(tmp_path)
    model = LiveModel(Builder(f"{module}:build", concurrent=marked == "class Engine"))

    async def use():
        await model.build({}, ModelContext())
        answers = await asyncio.gather(model(["one"]), model(["two"]))
        await model.close()
        return answers

    assert asyncio.run(use()) == ([["ONE"], ["TWO"]] if model.concurrent else [["one"], ["two"]])

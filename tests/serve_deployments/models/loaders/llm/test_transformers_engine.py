"""The engine of transformers on a small Llama with random weights: its tokens are those of `generate`, one by one."""

import asyncio
import json
import threading

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from serve_deployments.endpoint import Sizes
from serve_deployments.fakes.tiny_llama import write_tiny_llama
from serve_deployments.models.context import ModelError
from serve_deployments.models.loaders.llm.padded_batch import PaddedBatch
from serve_deployments.models.loaders.llm.token_text import PiecesOfText, prompt_of
from serve_deployments.models.loaders.llm.transformers_engine import build, check

PROMPTS = ("Hello", "a much longer prompt than that", "x", "yy", "Hello")
TOKENS = (6, 12, 3, 8, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(write_tiny_llama(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def model(folder):
    return AutoModelForCausalLM.from_pretrained(folder)


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def engine(folder):
    made = build(folder, max_num_seqs=3, max_model_len=64)
    yield made
    made.close()


def alone(model, prompt, tokens):
    """The likeliest tokens after a prompt, by transformers itself."""
    ids = torch.tensor([prompt])
    found = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens,
                           do_sample=False)  # fmt: skip
    return found[0, len(prompt) :].tolist()


async def parts_of(engine, payload, after_s=0.0):
    await asyncio.sleep(after_s)
    return [part async for part in engine(payload)]


def asked(tokens, prompt, **more):
    return {"prompt": prompt, "max_tokens": tokens, "ignore_eos": True, **more}


def test_sequences_that_join_and_leave_have_the_tokens_that_they_would_have_alone(model):
    """Whatever runs beside them: lengths, padding and the order of joining change nothing."""
    prompts = [[5, 9, 200], [7] * 11, [30], list(range(1, 31))]  # the last joins as the longest of all
    expected = [alone(model, prompt, 9) for prompt in prompts]
    batch = PaddedBatch(model)
    found: list[list[int]] = [[] for _ in prompts]

    def take(places, tokens):
        for place, token in zip(places, tokens, strict=True):
            found[place].append(token)

    take([0, 1], batch.join(prompts[:2]))
    take([0, 1], batch.step())
    take([2], batch.join(prompts[2:3])[-1:])
    take([0, 1, 2], batch.step())
    batch.keep([0, 2])  # the longest leaves, and its padding with it
    take([0, 2], batch.step())
    take([3], batch.join(prompts[3:])[-1:])
    for _ in range(4):
        take([0, 2, 3], batch.step())
    assert len(batch) == 3 and [len(tokens) for tokens in found] == [8, 3, 7, 5]
    assert found == [tokens[: len(mine)] for tokens, mine in zip(expected, found, strict=True)]
    batch.keep([])
    assert len(batch) == 0 and batch.join([[30]]) == expected[2][:1]


@pytest.mark.parametrize("batching", ["continuous", "static"])
def test_answers_are_those_of_generate_however_requests_come(folder, model, tokenizer, batching):
    engine = build(folder, max_num_seqs=2, max_model_len=64, batching=batching)

    async def all_of_them():
        return await asyncio.gather(
            *(parts_of(engine, asked(n, p), i / 500) for i, (p, n) in enumerate(zip(PROMPTS, TOKENS, strict=True)))
        )

    try:
        answers = asyncio.run(all_of_them())
    finally:
        engine.close()
    for prompt, tokens, (*pieces, sizes) in zip(PROMPTS, TOKENS, answers, strict=True):
        ids = tokenizer(prompt)["input_ids"]
        assert sizes == Sizes(len(ids), tokens) and len(pieces) == tokens
        assert "".join(pieces) == tokenizer.decode(alone(model, ids, tokens), skip_special_tokens=True)


def test_an_answer_ends_where_the_model_ends_it_unless_it_must_not(folder, model, tokenizer):
    engine = build(folder)
    prompt = tokenizer("Hello")["input_ids"]
    tokens = alone(model, prompt, 6)
    engine._ends = {tokens[1]}
    assert tokens[0] != tokens[1]
    try:
        free = asyncio.run(parts_of(engine, {"prompt": "Hello", "max_tokens": 6}))
        fixed = asyncio.run(parts_of(engine, asked(6, "Hello")))
    finally:
        engine.close()
    assert free[-1].size_out == 2 and fixed[-1].size_out == 6


def test_places_are_as_many_as_it_was_told_and_may_change_while_it_runs(engine):
    most = []
    real = engine._batch.step

    def counted():
        most.append(len(engine._running))
        return real()

    engine._batch.step = counted

    async def load():
        await asyncio.gather(*(parts_of(engine, asked(8, "x")) for _ in range(8)))

    asyncio.run(load())
    assert max(most) == 3
    engine.change(max_num_seqs=5)
    most.clear()
    asyncio.run(load())
    assert max(most) == 5


def test_a_request_that_is_given_up_leaves_its_place(folder):
    engine = build(folder, max_num_seqs=1)

    async def given_up():
        async def first():
            async for _ in engine(asked(500, "x")):
                started.set()

        started = asyncio.Event()
        task = asyncio.create_task(first())
        await started.wait()
        task.cancel()
        return await asyncio.wait_for(parts_of(engine, asked(2, "y")), 20)

    try:
        assert asyncio.run(given_up())[-1] == Sizes(1, 2)
    finally:
        engine.close()


# In a process that has run thousands of other tests, it hung once in two whole runs; by itself it never did.
@pytest.mark.slow
def test_what_the_model_raises_reaches_all_in_the_batch_and_the_next_are_served(engine):
    real = engine._batch.step

    def fails():
        engine._batch.step = real
        raise RuntimeError("CUDA out of memory")

    async def load():
        engine._batch.step = fails
        return await asyncio.gather(*(parts_of(engine, asked(4, "x")) for _ in range(2)), return_exceptions=True)

    failed = asyncio.run(load())
    assert any(str(one) == "CUDA out of memory" for one in failed)
    assert asyncio.run(parts_of(engine, asked(2, "x")))[-1].size_out == 2


def test_closed_it_ends_its_thread(folder):
    engine = build(folder)
    engine.close()
    assert not any(thread.name == "engine" and thread.is_alive() for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (asked(60, "12345"), "has 5 tokens and asks for 60, together more than the 64 of max_model_len"),
        (asked(1, "1" * 64), "has 64 tokens and asks for 1, together more"),
        ({"text": "a"}, "needs `messages` or a `prompt`, got dict"),
        (7, "needs `messages` or a `prompt`, got int"),
        ({"prompt": ""}, "the request is empty"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_in_words(engine, payload, said):
    with pytest.raises(ValueError, match=said):
        asyncio.run(parts_of(engine, payload))


def test_requests_are_read_in_openai_s_forms(tokenizer):
    letters = tokenizer("user: hi\n")["input_ids"]
    chat = {"messages": [{"role": "user", "content": "hi"}]}
    assert prompt_of(chat, tokenizer) == letters  # no template: as a text
    assert prompt_of({"prompt": [5, 6]}, tokenizer) == [5, 6]
    assert prompt_of("hi", tokenizer) == prompt_of({"prompt": "hi"}, tokenizer) == tokenizer("hi")["input_ids"]
    with_template = AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    with_template.chat_template = "{% for m in messages %}<{{ m.content }}>{% endfor %}"
    assert prompt_of(chat, with_template) == tokenizer("<hi>")["input_ids"]


def test_a_character_of_several_tokens_comes_whole_and_what_is_left_comes_last(tokenizer):
    text = PiecesOfText(tokenizer)
    ids = tokenizer("aé€")["input_ids"]  # one, two and three bytes
    assert [text.add(token) for token in ids] == ["a", "", "é", "", "", "€"]
    cut = PiecesOfText(tokenizer)
    assert [cut.add(ids[1]), cut.add(ids[3], last=True)] == ["", "\ufffd\ufffd"]


def test_what_is_no_language_model_is_refused_before_anything_is_read(folder, tmp_path):
    check(folder)
    with pytest.raises(ModelError, match=r"config.json cannot be read .*; `llm` needs the folder of a language model"):
        check(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["BertModel"]}))
    with pytest.raises(ModelError, match="holds BertModel, which is no causal language model; use `path`"):
        build(str(tmp_path))
    for wrong, said in (
        ({"max_num_seqs": 0}, "max_num_seqs must be 1 or more"),
        ({"batching": "none"}, "continuous or static, got 'none'"),
        ({"precision": "int8"}, "supports float32, bfloat16, float16, not int8"),
        ({"max_model_len": 9999}, "max_model_len must be from 2 to 512"),
    ):
        with pytest.raises(ModelError, match=said):
            build(folder, **wrong)

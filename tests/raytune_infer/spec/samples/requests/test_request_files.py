"""Files of requests in their published forms, and files of another form, each with its line."""

import json

import numpy as np
import pytest

from raytune_infer.spec.samples.requests.chat_files import openai, sharegpt
from raytune_infer.spec.samples.requests.file_request import FileRequest, RequestFileError
from raytune_infer.spec.samples.requests.length_traces import azure, burstgpt, mooncake
from raytune_infer.spec.samples.requests.made_text import MadeText
from raytune_infer.spec.samples.requests.payloads import KINDS, from_file

HELLO = {"messages": [{"role": "user", "content": "Hello"}]}
TALK = {
    "id": "a",
    "conversations": [
        {"from": "human", "value": "One?"},
        {"from": "gpt", "value": "Yes, one."},
        {"from": "human", "value": "Two?"},
        {"from": "gpt", "value": "No."},
        {"from": "human", "value": "unanswered"},
    ],
}
MOONCAKE = """\
{"timestamp": 0, "input_length": 1100, "output_length": 5, "hash_ids": [0, 1, 2]}
{"timestamp": 3052, "input_length": 1200, "output_length": 26, "hash_ids": [0, 1, 7]}
{"timestamp": 3500, "input_length": 30, "output_length": 0, "hash_ids": [9]}
"""
BURSTGPT = """\
Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,0,1087,Conversation log
110.5,GPT-4,417,505,922,API log
"""
AZURE = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2024-05-10 00:00:00.009930+00:00,2162,5
"""


@pytest.fixture
def file(tmp_path):
    def write(content, name="requests"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def words(text):
    return len(text.split(" "))


def test_openai_s_lines_with_or_without_the_batch_around_them(file):
    batch = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions"}
    lines = [
        {**HELLO, "max_tokens": 9, "model": "x", "stream": True},
        {**batch, "body": {**HELLO, "max_completion_tokens": 7}},
        {"prompt": "Once", "output_tokens": 3, "temperature": 0.5},
        {"prompt": "Once"},
    ]
    found = openai(file("\n".join(map(json.dumps, lines)) + "\n\n"))
    assert [one.tokens_out for one in found] == [9, 7, 3, None]
    assert found[0].body == {**HELLO, "max_tokens": 9} and found[2].body == {"prompt": "Once", "temperature": 0.5}


def test_a_conversation_is_its_first_question_or_every_one_with_what_was_said_before(file):
    path = file([TALK, {"conversations": [{"from": "gpt", "value": "alone"}]}])
    [first] = sharegpt(path)
    assert first.body["messages"] == [{"role": "user", "content": "One?"}]
    [_, second] = sharegpt(path, turns="all")
    assert [one["role"] for one in second.body["messages"]] == ["user", "assistant", "user"]
    [payload] = from_file("sharegpt", path, MadeText(count=len)).payloads
    assert payload == {"messages": first.body["messages"], "max_tokens": len("Yes, one."), "ignore_eos": True}


def test_mooncake_s_prompts_share_the_text_of_their_blocks(file):
    path = file(MOONCAKE)
    assert [(one.tokens_in, one.tokens_out, one.at_s) for one in mooncake(path)] == [(1100, 5, 0.0), (1200, 26, 3.052)]
    found = from_file("mooncake", path, MadeText())
    first, second = (one["prompt"].split(" ") for one in found.payloads)
    assert (len(first), len(second)) == (1100, 1200) and first[:1024] == second[:1024] and first[1024:] != second[1024:]
    assert first[:512] != first[512:1024] and found.at_s == (0.0, 3.052)
    assert found == from_file("mooncake", path, MadeText()) != from_file("mooncake", path, MadeText(seed=1))


def test_burstgpt_and_azure_in_seconds_without_requests_that_failed(file):
    assert [(o.at_s, o.tokens_in, o.tokens_out) for o in burstgpt(file(BURSTGPT))] == [(5, 472, 18), (110.5, 417, 505)]
    found = azure(file(AZURE))
    assert [(o.tokens_in, o.tokens_out) for o in found] == [(374, 44), (396, 109), (2162, 5)]
    assert found[1].at_s - found[0].at_s == pytest.approx(4.314579, abs=1e-6)
    payloads = from_file("azure", file(AZURE), MadeText(), output=7).payloads
    assert [(words(p["prompt"]), p["max_tokens"]) for p in payloads] == [(374, 7), (396, 7), (2162, 7)]
    assert len({p["prompt"][:100] for p in payloads}) == 3  # none begins as another does, or a cache would help


def test_answers_may_end_when_the_model_ends_them(file):
    path = file(json.dumps({**HELLO, "max_tokens": 9}))
    assert from_file("openai", path, MadeText(), output="free").payloads == ({**HELLO, "max_tokens": 9},)
    plain = from_file("openai", file(json.dumps(HELLO)), MadeText()).payloads
    assert plain == (HELLO,)  # nobody says how long


def test_some_of_a_file_are_the_first_or_a_choice_by_a_seed_in_its_order(file):
    path = file("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
        f"2024-05-10 00:00:{s:02},{s + 1},1\n" for s in range(60)
    ))  # fmt: skip
    sizes = {
        seed: [words(p["prompt"]) for p in from_file("azure", path, MadeText(), most=10, seed=seed).payloads]
        for seed in (None, 0, 1)
    }
    assert sizes[None] == list(range(1, 11)) and sizes[0] != sizes[1]
    assert all(found == sorted(found) and len(found) == 10 for found in sizes.values())


def test_requests_out_of_order_come_in_the_order_of_their_times(file):
    path = file("Timestamp,Request tokens,Response tokens\n9,3,1\n2,2,1\n")
    found = from_file("burstgpt", path, MadeText())
    assert found.at_s == (2.0, 9.0) and [words(one["prompt"]) for one in found.payloads] == [2, 3]


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        (
            "openai",
            '{"prompt": "a"}\nnot json',
            r"requests:2: found 'not json'; expected a line such as",
        ),
        ("openai", '{"text": "a"}', r"requests:1: found .*text.*; expected a line such as"),
        ("openai", '{"messages": ["a"]}', r"requests:1: .*expected a line such as"),
        ("openai", '{"prompt": "a", "max_tokens": "many"}', r"requests:1: found 'many'; expected a whole number"),
        ("openai", "\n", "found 'no line'; expected a line such as"),
        ("sharegpt", "[{]", r"requests:1: .*expected JSON: a list of"),
        ("sharegpt", {"conversations": []}, "expected a list of"),
        ("sharegpt", [{"conversations": [{"role": "user", "content": "a"}]}], r"number 1: .*expected a list of"),
        ("sharegpt", [{"conversations": [{"from": "gpt", "value": "a"}]}], "no question with an answer"),
        ("mooncake", '{"timestamp": 0, "input_length": 3}', r"requests:1: found .*; expected .*\"hash_ids\""),
        ("mooncake", '{"timestamp": 0, "input_length": -3, "output_length": 3}', r"requests:1: .*input_length"),
        ("burstgpt", AZURE, r"requests:1: found 'no Request tokens, Response tokens, Timestamp'; expected the columns"),
        ("burstgpt", BURSTGPT + "x,ChatGPT,1,1,2,log\n", r"requests:5: found 'x,1,1'; expected the columns Timestamp"),
        ("azure", AZURE + "yesterday,1,1\n", r"requests:5: found 'yesterday,1,1'; expected the columns TIMESTAMP"),
        ("azure", AZURE.splitlines()[0], "found 'no request with tokens in and out'"),
    ],
)
def test_a_file_of_another_form_is_refused_with_its_line_and_what_was_expected(file, kind, content, said):
    with pytest.raises(RequestFileError, match=said):
        KINDS[kind](file(content))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_cannot_be_read_is_refused(kind, tmp_path):
    with pytest.raises(RequestFileError, match="expected a file that can be read"):
        KINDS[kind](tmp_path / "missing")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RequestFileError, match="expected text in UTF-8"):
        KINDS[kind](tmp_path / "bytes")


def test_a_request_has_text_or_a_length_above_zero():
    with pytest.raises(ValueError, match="needs a text or a number of tokens"):
        FileRequest()
    with pytest.raises(ValueError, match="one output token or more, got 0"):
        FileRequest({}, tokens_out=0)


def test_with_a_tokenizer_a_text_has_the_wanted_tokens_to_within_a_word():
    def by_characters(text):
        return len(text)

    for tokens in (8, 50, 313):
        found = by_characters(MadeText(3, by_characters).of(tokens, 1))
        assert tokens - 9 < found <= tokens  # a space and the longest word, "question"
    assert MadeText().tokens_of("x" * 40) == 10 and MadeText().tokens_of("") == 1
    assert len({MadeText().of(20, n) for n in range(200)}) == 200 and np.unique(MadeText().of(9).split(" ")).size > 5

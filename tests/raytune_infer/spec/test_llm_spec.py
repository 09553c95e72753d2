"""`model.llm` of service.yaml: what is built, and what is refused with its place."""

import json

import pytest

from raytune_infer.errors import SpecError
from raytune_infer.spec.document import Document
from raytune_infer.spec.service import Service, model_source
from raytune_infer.spec.service_spec import parse_spec
from raytune_infer.study.fingerprint.file_digests import model_files
from serve_deployments.models.model import Builder, caution, consumes

SPEC = """\
name: chat
model: {model}
requests: {{lengths: {{tokens_in: 8, tokens_out: 4}}, count: 5}}
knobs: {{cpu_cores: [1], precision: [float32, bfloat16], max_num_seqs: {{kind: args, values: [1, 8]}}}}
objective: {{maximize: goodput}}
limits: {{ttft_ms: 500, attainment: 0.9}}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    return tmp_path


def spec(folder, model, more=""):
    return parse_spec(Document(SPEC.format(model=model) + more, "chat.yaml"), folder=folder)


def test_a_language_model_is_built_by_our_engine_which_takes_each_request(folder):
    read = spec(folder, "{llm: tiny, engine: transformers, args: {max_model_len: 64}, answers_within_s: 9}")
    service = Service(read)
    source = service.source
    assert isinstance(source, Builder) and source.concurrent and source.ours
    assert source.wait is not None and source.wait.most_s == 9
    told = read.arguments({"max_num_seqs": 8, "cpu_cores": 1})
    assert told == {"llm": "tiny", "max_model_len": 64, "max_num_seqs": 8}
    # No code of the user's runs, and nothing is imported from the folder.
    assert not read.runs_code and caution(service.source) is None and service.code == ()
    assert {"precision", "device"} <= consumes(service.source)
    assert model_source(spec(folder, "{llm: tiny}")) == model_source(spec(folder, "{llm: tiny, engine: transformers}"))


def test_its_files_are_among_those_whose_change_ends_a_resume(folder):
    assert any(name.endswith("config.json") for name in model_files(spec(folder, "{llm: tiny}")))


@pytest.mark.parametrize(
    ("model", "more", "said"),
    [
        ("{llm: gone}", "", r"chat.yaml:2: model: .*gone/config.json cannot be read .*folder of a language model"),
        ("{llm: tiny, path: tiny}", "", "model: give either `build: module:callable` or `path:`"),
        ("{engine: transformers, path: tiny}", "", "model: `engine` goes with `llm`"),
        ("{llm: tiny, engine: tgi}", "", "model.engine: needs 'transformers', got 'tgi'"),
        ("{llm: tiny, concurrent: true}", "", "model: with `llm` the engine loads the model"),
        ("{llm: tiny, args: {max_seqs: 3}}", "", "model.args.max_seqs: .*max_num_seqs"),
        ("{llm: tiny, args: {max_num_seqs: 3}}", "", "is also in model.args"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(folder, model, more, said):
    with pytest.raises(SpecError, match=said):
        Service(spec(folder, model, more))


def test_an_engine_forms_its_batches_itself(folder):
    text = SPEC.format(model="{llm: tiny}").replace("cpu_cores: [1]", "cpu_cores: [1], max_batch_size: [1, 2]")
    with pytest.raises(SpecError, match="knobs.max_batch_size: .*would change nothing"):
        parse_spec(Document(text, "chat.yaml"), folder=folder)

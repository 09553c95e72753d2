"""Knobs of a service.yaml: which could change nothing, which stand there twice, each refused in words at its place."""

from pathlib import Path

import pytest

from cluster.catalogue import CATALOGUE
from raytune_infer.errors import SpecError
from raytune_infer.spec.document import Document
from raytune_infer.spec.service_spec import ServiceSpec, parse_spec
from raytune_infer.spec.standard_knobs import STANDARD_KNOBS


def parsed(knobs: str) -> ServiceSpec:
    """A service with these knobs, which stand in its fourth line."""
    text = f"""name: s
model: {{build: "cluster.emulated:model", args: {{profile: bert-base}}}}
samples: [x]
knobs: {{{knobs}}}
objective: {{maximize: rps}}
"""
    return parse_spec(Document(text, "s.yaml"), folder=Path("."))


def said_of(knobs: str) -> str:
    with pytest.raises(SpecError) as refused:
        parsed(knobs)
    return str(refused.value)


@pytest.mark.parametrize(
    ("variable", "knob"),
    [
        ("OMP_NUM_THREADS", "threads"),
        ("MKL_NUM_THREADS", "threads"),
        ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "gpu_share"),
    ],
)
def test_a_variable_that_another_knob_decides_is_no_knob_and_an_argument_of_its_name_is_one(variable, knob):
    """Its value would be overwritten, so that all its trials measured the same."""
    assert said_of(f"{variable}: {{kind: env, values: [1, 2]}}") == (
        f"s.yaml:4: knobs.{variable}: {variable} is set by the knob `{knob}`; use that knob instead"
    )
    assert parsed(f"{variable}: {{kind: args, values: [1, 2]}}").values(variable) == [1, 2]


def test_any_other_variable_is_a_knob():
    assert parsed("OMP_WAIT_POLICY: {kind: env, values: [active, passive]}").knobs.keys() == {"OMP_WAIT_POLICY"}


@pytest.mark.parametrize("kind", ["args", "env"])
@pytest.mark.parametrize("name", STANDARD_KNOBS)
def test_a_knob_of_ours_is_not_set_a_second_way(name, kind):
    assert said_of(f"{name}: {{kind: {kind}, values: [a, b]}}") == (
        f"s.yaml:4: knobs.{name}: {name} is a standard knob; give its values as a plain list"
    )


def test_the_name_of_a_gpu_type_is_that_of_one_card():
    assert said_of("gpu_type: [none, T4, a100]") == (
        "s.yaml:4: knobs.gpu_type[2]: 'a100' may be A100-40G, A100-80G, A100-80G-PCIe or A100-64G; write which "
        "(`raytune-infer cluster` shows those of a cluster)"
    )


@pytest.mark.parametrize(
    ("knob", "shown"),
    [
        ("gpu_type: [T4, Tesla T4]", "'Tesla T4'"),
        ("gpu_type: [none, L4, nvidia-l4, T4]", "'nvidia-l4'"),
        ("gpu_type: [A100-80G, NVIDIA A100-SXM4-80GB]", "'NVIDIA A100-SXM4-80GB'"),
        ("gpu_type: [none, none]", "'none'"),
        ("precision: [int8, float32, int8]", "'int8'"),
        ("max_batch_size: [1, 2, 1]", "1"),
        ("batch_wait_ms: [5, 5.0]", "5.0"),
        ("own: {kind: args, values: [T4, T4]}", "'T4'"),
        ("own: {kind: args, values: [true, false, true]}", "true"),
        ("own: {kind: env, values: [2, 2.0]}", "2.0"),
    ],
)
def test_a_value_that_stands_twice_however_it_is_spelled_is_named(knob, shown):
    """The same configuration would be searched, and paid, twice."""
    name = knob.partition(":")[0]
    assert said_of(knob) == f"s.yaml:4: knobs.{name}: {shown} occurs twice; keep one of them"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("[1, '1']", "1 and '1'"),
        ("['2.5', a, 2.5]", "'2.5' and 2.5"),
        ("[true, 'True']", "true and 'True'"),
    ],
)
def test_what_the_environment_cannot_tell_apart_stands_twice(values, said):
    """A variable has a text, an argument has a type."""
    assert said_of(f"own: {{kind: env, values: {values}}}") == (
        f"s.yaml:4: knobs.own: {said} are the same text in an environment variable; keep one of them"
    )
    assert len(parsed(f"own: {{kind: args, values: {values}}}").values("own")) == values.count(",") + 1


@pytest.mark.parametrize(
    "knob",
    [
        "own: {kind: args, values: [1, true, '1', 'true']}",
        "own: {kind: env, values: [1, 'True', '01', 'true']}",
        "own: {kind: args, values: [T4, Tesla T4]}",  # of GPUs nothing is known but under `gpu_type`
        f"gpu_type: [none, {', '.join(gpu.name for gpu in CATALOGUE)}]",
    ],
)
def test_what_only_looks_alike_is_not_the_same(knob):
    spec = parsed(knob)
    [name] = spec.knobs
    assert len(spec.values(name)) == knob.count(",") + 1 - ("kind" in knob)

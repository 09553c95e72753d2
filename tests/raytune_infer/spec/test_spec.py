"""service.yaml: what is right is read as written, and every error names the place and the remedy."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from raytune_infer.errors import SpecError
from raytune_infer.spec.document import Document
from raytune_infer.spec.service_spec import ServiceSpec, load_spec, parse_spec
from tests.repository import ROOT

GOOD = """\
name: demo
model: {build: "json:loads"}
samples: [a, b]
knobs:
  cpu_cores: [1, 2]
  max_batch_size: [1, 8]
  batch_wait_ms: [0, 2.5]
  precision: [float32, bfloat16]
  OMP_WAIT_POLICY: {kind: env, values: [active, passive]}
  beams: {kind: args, values: [1, 4]}
objective: {maximize: rps / usd_per_hour}
limits: {p99_ms: 100, error_rate: 0.01}
"""
BEAMS = "  beams: {kind: args, values: [1, 4]}\n"
FACTS = "facts: {parameters_million: 22.7}\nlimits:"


def parse(text: str):
    return parse_spec(Document(text, "service.yaml"), folder=Path("."))


def test_a_good_file_is_read_as_written():
    spec = parse(GOOD)
    assert spec.values("batch_wait_ms") == [0, 2.5]
    assert spec.values("beams") == [1, 4]
    assert spec.goal.goal.text == "rps / usd_per_hour"
    assert spec.goal.at_most == {"p99_ms": 100, "error_rate": 0.01}
    assert spec.latency_limits == {"p99_ms": 100, "error_rate": 0.01}
    # Left out, the default configuration is the first value of every knob.
    assert spec.default_config["cpu_cores"] == 1
    assert spec.default_config["beams"] == 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: demo", "name: a b", "service.yaml:1: name:"),
        ("samples:", "sample:", r"service.yaml:3: sample: unknown key; allowed are name, model, samples"),
        ("samples: [a, b]", "", "'samples' is missing"),
        ('{build: "json:loads"}', "{}", "service.yaml:2: model: give either `build"),
        ('{build: "json:loads"}', '{build: "a:b", path: x}', "service.yaml:2: model: give either"),
        ('{build: "json:loads"}', '{build: "a:b", loader: onnx}', "`loader` goes with `path`"),
        (
            '{build: "json:loads"}',
            '{biuld: "a:b"}',
            "model.biuld: unknown key; allowed are build, path, llm, engine, loader, args",
        ),
        ("max_batch_size: [1, 8]", "max_batch_size: []", "service.yaml:6: knobs.max_batch_size: needs at least one"),
        ("max_batch_size: [1, 8]", "max_batch_size: [1, 8, 1]", "service.yaml:6: .*1 occurs twice"),
        ("max_batch_size: [1, 8]", "max_batch_size: [1, 0]", r"knobs.max_batch_size\[1\]: .* from 1 to 1000000, got 0"),
        ("max_batch_size: [1, 8]", "max_batch_size: [1, 2.5]", r"knobs.max_batch_size\[1\]: .*whole numbers"),
        ("max_batch_size: [1, 8]", "max_batch_size: 8", "service.yaml:6: knobs.max_batch_size:"),
        ("max_batch_size: [1, 8]", "max_batch: [1, 8]", "knobs.max_batch: not a standard knob .*cpu_cores.*kind: env"),
        ("[float32, bfloat16]", "[float32, fp16]", r"knobs.precision\[1\]: .*float32, bfloat16, float16, int8"),
        ("cpu_cores: [1, 2]", "gpu_type: [T4, V1000]", r"service.yaml:5: knobs.gpu_type\[1\]: .*V100"),
        ("cpu_cores: [1, 2]", "gpu_share: [0.5]", "knobs.gpu_share: also needs the knob `gpu_type`"),
        ("cpu_cores: [1, 2]", "gpu_type: [T4]\n  gpu_memory: [0.5, 40]", r"knobs.gpu_memory\[1\]: .*fractions"),
        ("kind: env", "kind: environment", "knobs.OMP_WAIT_POLICY.kind: "),
        ('{build: "json:loads"}', '{build: "a:b", args: {beams: 1}}', "knobs.beams: is also in model.args"),
        ("cpu_cores: [1, 2]", "cpu_cores: [1, 2]\n  cpu_cores: [3]", "service.yaml:6: 'cpu_cores' occurs twice"),
        ("rps / usd_per_hour", "rps / cost", "service.yaml:11: objective.maximize: 'cost' is not measured; there are"),
        ("rps / usd_per_hour", "rps /", "objective.maximize: 'rps /' is not an arithmetic expression"),
        ("rps / usd_per_hour", "__import__('os')", "objective.maximize: .*only"),
        ("{maximize: rps / usd_per_hour}", "{}", "objective: give either `maximize:` or `minimize:`"),
        ("p99_ms: 100", "p98: 100", "service.yaml:12: limits.p98: 'p98' is not measured; there are"),
        ("rps / usd_per_hour", "rps / p97_ms", "objective.maximize: 'p97_ms' is not measured; .*, and as a limit any"),
        ("p99_ms: 100", "p99_ms: fast", "limits.p99_ms: "),
        ("p99_ms: 100", "rps: 100", "limits.rps: .*at_least"),
        (
            "error_rate: 0.01",
            "error_rate: 5",
            "12: limits.error_rate: error_rate is a share from 0 to 1, got 5; for 5 % w",
        ),
        ("error_rate: 0.01", "answers_same: 95", "limits.answers_same: .* is a share from 0 to 1, .* write 0.95"),
        (
            "p99_ms: 100",
            "answers_cosine_min: 1.5",
            "limits.answers_cosine_min: .* is from -1 to 1, got 1.5; write a nu",
        ),
        ("p99_ms: 100", "answers_relative_error: 5", "limits.answers_relative_error: .* is from 0 to 2, got 5"),
        ("limits:", "budget: {trials: 0}\nlimits:", "budget.trials: "),
        ("limits:", "budget: {trails: 3}\nlimits:", "budget.trails: unknown key; allowed are trials, parallel"),
        ("limits:", "default: {cpu_cores: 3}\nlimits:", "default.cpu_cores: 3 is none of the knob's values"),
        ("limits:", "default: {cores: 1}\nlimits:", "default.cores: no such knob; there are cpu_cores"),
        ("limits:", "default: {cpu_cores: 1}\nlimits:", "default: leaves out max_batch_size"),
        ("limits:", FACTS.replace("22.7", "-1"), "service.yaml:12: facts.parameters_million: .*positive.*got -1"),
        ("limits:", FACTS.replace("22.7", "0"), "facts.parameters_million: .*positive numbers, got 0"),
        ("limits:", FACTS.replace("22.7", ".inf"), "facts.parameters_million: .*got inf"),
        ("limits:", FACTS.replace("22.7", ".nan"), "facts.parameters_million: .*got nan"),
        ("limits:", FACTS.replace("22.7", "true"), "facts.parameters_million: .*got true"),
        ("limits:", FACTS.replace("22.7", "big"), "facts.parameters_million: .*got 'big'; leave out unknown facts"),
        ("limits:", FACTS.replace("22.7", ""), "facts.parameters_million: .*got nothing"),
        ("limits:", FACTS.replace("22.7", "[1]"), r"facts.parameters_million: .*got \[1\]"),
        ("limits:", "facts: [1]\nlimits:", "service.yaml:12: facts: needs a mapping of keys, got \\[1\\]"),
        ("beams:", "beam s:", "knobs.beam s: the name of a variable or an argument may contain only letters"),
        (
            BEAMS,
            "".join(BEAMS.replace("4", "2, 3, 4, 5, 6, 7, 8, 9").replace("beams", f"b{i}") for i in range(6)),
            "service.yaml:5: knobs: these values make more than 1000000 configurations",
        ),
        ("name: demo", "name: on", "service.yaml:1: YAML takes on for true; write true, or put it in quotes"),
        ("name: demo", "name:", "service.yaml:1: name: needs a text, got nothing; give one, or leave the key out"),
        ("cpu_cores: [1, 2]", "cpu_cores: [[1]]", r"service.yaml:5: knobs.cpu_cores\[0\]: needs a text or a number"),
        (
            "limits:",
            "budget: {trials: 1000000000000}\nlimits:",
            "budget.trials: must be at most 1e.09, got 1000000000000",
        ),
        ("limits:", "budget: {seconds: .inf}\nlimits:", "budget.seconds: must be a finite number, got inf"),
        ("limits:", "1.5: 2\nlimits:", "service.yaml:12: a key must be text, but YAML does not read '1.5' as text"),
        ("limits:", "\tx: 2\nlimits:", "service.yaml:12: not valid YAML .*; indent with spaces, not with tabs"),
        ("limits:", "facts: {a: &a [*a]}\nlimits:", "service.yaml:12: it contains itself"),
        ("limits:", "date: 2026-02-31\nlimits:", "service.yaml:12: not valid YAML .*'2026-02-31' cannot be read as"),
        ("limits:", "folder: /\nlimits:", "folder: unknown key"),
        ("limits:", "limits: {a: [}\nb:", "not valid YAML"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(old, new, said):
    assert old in GOOD
    with pytest.raises(SpecError, match=said):
        parse(GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        (
            "{maximize: -p99_ms}",
            r"11: objective.maximize: '-p99_ms' is not .*; write `minimize: p99_ms`",
        ),
        ("{minimize: -rps}", r"objective.minimize: '-rps' is not always positive, .*; write `maximize: rps`"),
        ("{maximize: rps - 10 * p99_ms}", "not always positive, as it must be; use a quotient such as"),
        ("{maximize: 0 * rps}", "not always positive"),
        (
            "{maximize: rps, at_least: {answers_same: 95}}",
            "11: objective.at_least.answers_same: .*; for 95 % write 0.95",
        ),
        ("{maximize: rps, at_least: {rps: -1}}", "at_least.rps: rps is 0 or more, got -1"),
        (
            "{minimize: p99_ms, at_least: {rps: 100}}",
            "at_least.rps: p99_ms is measured at .*, not at 100",
        ),
        (
            "{maximize: rps / p99_ms, at_least: {rps: 2.5}}",
            "p99_ms is measured .*, not at 2.5 requests/s",
        ),
    ],
)
def test_a_goal_that_would_not_mean_what_is_meant_is_refused(objective, said):
    with pytest.raises(SpecError, match=said):
        parse(GOOD.replace("{maximize: rps / usd_per_hour}", objective))


@pytest.mark.parametrize(
    "objective",
    [
        "{minimize: p99_ms}", "{maximize: rps * (1 - error_rate)}", "{maximize: 1 / (1 + usd_per_hour)}",
        "{minimize: usd_per_hour, at_least: {rps: 5}}", "{maximize: rps / p99_ms}", "{maximize: rps ** 0.5}",
    ],
)  # fmt: skip
def test_a_goal_that_is_always_positive_is_taken(objective):
    parse(GOOD.replace("{maximize: rps / usd_per_hour}", objective))


def test_a_limit_on_a_latency_at_the_peak_is_refused_and_one_on_errors_taken():
    peak = GOOD + "load: {find: peak}\n"
    with pytest.raises(SpecError, match=r"service.yaml:12: limits.p99_ms: with `load.find: peak` it would"):
        parse(peak)
    assert parse(peak.replace("p99_ms: 100, ", "")).load.find == "peak"


def test_a_knob_without_a_value_says_what_to_do():
    said = r"service.yaml:10: knobs.beams.values\[1\]: a knob's value cannot be null; use a word such as none"
    with pytest.raises(SpecError, match=said):
        parse(GOOD.replace("[1, 4]", "[1, null]"))


def test_keys_that_begin_with_x_are_the_authors_own():
    text = "x-load: &load {precision: 0.1}\n" + GOOD + "load: {<<: *load, total_max_s: 8}\n"
    assert (parse(text).load.precision, parse(text).load.total_max_s) == (0.1, 8)
    with pytest.raises(SpecError, match=r"service.yaml:1: y-load: unknown key"):
        parse(text.replace("x-load", "y-load"))


def test_what_json_does_not_have_is_refused_in_arguments_and_samples():
    with pytest.raises(SpecError, match="service.yaml:2: YAML takes 2024-06-01 for a date; put it in quotes"):
        parse(GOOD.replace('"json:loads"', '"json:loads", args: {day: 2024-06-01}'))
    with pytest.raises(SpecError, match="service.yaml:3: YAML takes on for true; write true, or put it in quotes"):
        parse(GOOD.replace("samples: [a, b]", "samples: [a, {b: on}]"))


@pytest.mark.parametrize("limits", ["", "usd_per_hour: 0.5"])
def test_a_highest_rate_without_a_limit_that_a_load_can_keep_is_refused(limits):
    with pytest.raises(SpecError) as refused:
        parse(GOOD.replace("{p99_ms: 100, error_rate: 0.01}", f"{{{limits}}}\nload: {{find: highest_rate}}"))
    assert str(refused.value) == (
        "service.yaml:13: load.find: highest_rate needs a limit on a latency or on error_rate; give one, or `peak`"
    )


@pytest.mark.parametrize("limits", ["p99_ms: 100", "error_rate: 0.01", "usd_per_hour: 0.5, mean_ms: 20"])
def test_a_highest_rate_is_looked_for_under_any_limit_that_a_load_can_keep(limits):
    spec = parse(GOOD.replace("{p99_ms: 100, error_rate: 0.01}", f"{{{limits}}}\nload: {{find: highest_rate}}"))
    # A price is the same at every rate, so no load can keep it.
    assert spec.latency_limits.keys() == spec.limits.keys() - {"usd_per_hour"} == spec.kept_limits


def test_facts_are_numbers_however_yaml_spells_them():
    assert parse(GOOD).facts == {}
    facts = parse(GOOD + "facts: {input_tokens: 512, flop: 1e9, share: 0.5}\n").facts
    assert facts == {"input_tokens": 512.0, "flop": 1e9, "share": 0.5}


def test_a_limit_may_be_on_any_percentile_as_recommend_takes_them():
    text = GOOD.replace("p99_ms: 100", "p97_ms: 100, p9995_ms: 300")
    assert parse(text).latency_limits == {"p97_ms": 100, "p9995_ms": 300, "error_rate": 0.01}


def test_several_errors_are_told_at_once():
    with pytest.raises(SpecError) as caught:
        parse(GOOD.replace("name: demo", "name: 3").replace("limits:", "limit:"))
    assert len(str(caught.value).splitlines()) == 2


def test_not_a_mapping_and_no_file():
    with pytest.raises(SpecError, match="a mapping of keys is needed, .* found a list"):
        parse("- 1")
    with pytest.raises(SpecError, match="cannot read nowhere.yaml"):
        load_spec("nowhere.yaml")


def test_least_cost_with_enough_requests():
    goal = parse(GOOD.replace("{maximize: rps / usd_per_hour}", "{minimize: usd_per_hour, at_least: {rps: 50}}")).goal
    fast = {"rps": 60.0, "p99_ms": 50.0, "error_rate": 0.0}
    cheap, dear = goal.value(fast, 1.0), goal.value(fast, 2.0)
    assert cheap is not None and dear is not None and cheap > dear
    assert goal.value({**fast, "rps": 40.0}, 0.1) is None


# --- what is taken for a key that is left out: by the model, and by the page that people read

PAGE = ROOT / "docs" / "service-yaml.md"
IN_WORDS: dict[str, object] = {
    "no condition": [], "this or `requests`": [], "this, `build` or `path`": None, "`transformers`": None,
    "those of `samples`": None,
    "no limit": None, "never": None, "guessed": None, "this or `path`": None, "this or `build`": None,
    "`cloud-2026`": None, "half of what the search took; twice of it under limits": None,
    "the former where there are such limits": None,
    "the longest of a load test; when exported ten minutes, or `load.total_max_s` if longer": None,
    "one batch after the other": None, "none": {}, "no function": None, "the first value of each": {},
}  # fmt: skip
"""What the page says where the model has no value of its own: what is taken is found out later."""


def left_out():
    """Key → what the page's first table says is taken for it."""
    page = PAGE.read_text(encoding="utf-8")
    table = page[page.index("| key | meaning | left out |") :].split("\n\n")[0]
    for row in table.splitlines()[2:]:
        keys, *_, said = (cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip("|")))
        names = re.findall(r"`([^`]+)`", keys)
        part = names[0].rpartition(".")[0]
        several = said.split(", ") if len(names) > 1 else [said]
        for name, one in zip(names, several, strict=True):
            yield name if "." in name or not part else f"{part}.{name}", one


def keys_of(model=ServiceSpec, before=""):
    """Key → its field, of every key that a file may have and the page has a line for."""
    for name, field in model.model_fields.items():
        if field.exclude:
            continue
        part = field.annotation
        if name in ("model", "budget", "load", "quality"):
            assert issubclass(part, BaseModel)
            yield from keys_of(part, f"{name}.")
        else:
            yield before + name, field


@pytest.mark.parametrize(("key", "said"), list(left_out()))
def test_the_page_says_what_is_taken_for_a_key_that_is_left_out(key, said):
    field = dict(keys_of())[key]
    assert field.is_required() is (said == "required")
    if not field.is_required():
        number = re.fullmatch(r"([0-9.]+)( s)?", said)
        expected = float(number[1]) if number else IN_WORDS.get(said, said.strip("`"))
        assert field.get_default(call_default_factory=True) == expected


def test_the_page_has_a_line_for_every_key():
    assert sorted(key for key, _ in left_out()) == sorted(key for key, _ in keys_of())
    spec = parse(GOOD)
    assert (spec.budget.trials, spec.budget.deploy_s, spec.load.total_max_s) == (20, 120, 60)

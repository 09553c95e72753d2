"""`where` and `when` in a service.yaml: what is allowed, what exists, and every error with its line and remedy."""

from pathlib import Path

import pytest

from raytune_infer.errors import SpecError
from raytune_infer.report.words.effects import effects_view
from raytune_infer.spec.document import Document
from raytune_infer.spec.knobs.condition_notes import condition_notes
from raytune_infer.spec.knobs.knob_space import space_of
from raytune_infer.spec.service import Service
from raytune_infer.spec.service_spec import parse_spec

GOOD = """\
name: llm
model: {build: "json:loads"}
samples: [x]
objective: {maximize: rps}
knobs:
  engine: {kind: args, values: [vllm, trt]}
  tp: {kind: args, values: [1, 2, 4, 8]}
  pp: {kind: args, values: [1, 2, 4]}
  block: {kind: args, values: [8, 16], when: 'engine == "vllm"'}
  MODE: {kind: env, values: [a, b], when: block == 16}
  max_batch_size: {values: [1, 8], when: 'engine == "trt"'}
where:
  - tp * pp <= 8
  - engine == "vllm" or tp > 1
"""


def parse(text: str = GOOD, folder: Path = Path(".")):
    return parse_spec(Document(text, "s.yaml"), folder=folder)


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def test_what_is_allowed_and_what_exists():
    spec = parse()
    space = space_of(spec.knobs, spec.where)
    # (tp, pp) with a product of at most 8: 9 of 12, of which 6 have tp > 1; vllm: 8 | 16 with a and b; trt: two sizes.
    assert len(space) == 9 * 3 + 6 * 2
    assert spec.default_config == {"engine": "vllm", "tp": 1, "pp": 1, "block": 8}
    assert spec.arguments(spec.default_config) == {"engine": "vllm", "tp": 1, "pp": 1, "block": 8}
    assert spec.variables(spec.default_config) == {}
    assert spec.variables({**spec.default_config, "block": 16, "MODE": "b"}) == {"MODE": "b"}


def test_one_condition_needs_no_list():
    spec = parse(GOOD[: GOOD.index("where:")] + "where: tp * pp <= 8\n")
    assert len(space_of(spec.knobs, spec.where)) == 9 * 3 + 9 * 2


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tp * pp <= 8", "tpp * pp <= 8", r"s.yaml:13: where\[0\]: there is no knob 'tpp'; there are engine, .* tp\?"),
        ("tp * pp <= 8", "tp * pp", r"s.yaml:13: where\[0\]: a condition is true or false; compare it"),
        ("tp * pp <= 8", "tp * pp <= 0", r"s.yaml:13: where\[0\]: 'tp \* pp <= 0' leaves no configuration: tp is"),
        (
            "tp > 1", "tp > 8 and tp > 7\n  - tp == 8 and engine == 'trt'",
            r"s.yaml:15: where\[2\]: .* leaves no configuration of those that the conditions before it allow: ",
        ),
        ("tp * pp <= 8", "8 / (tp - 1) > 1", r"s.yaml:13: where\[0\]: .* has no value where tp = 1 .*say what"),
        ("tp * pp <= 8", "yes", r"s.yaml:13: YAML takes yes for true"),
        ("tp * pp <= 8", "tp: 8", r"s.yaml:13: where\[0\]: needs a text"),
        ('engine == "vllm" or tp > 1', "engine == vllm", r's.yaml:14: where\[1\]: .*write "vllm" in quotes if'),
        ('engine == "vllm" or tp > 1', "engine == on", r"s.yaml:14: where\[1\]: there is no knob 'on'"),
        ("""'engine == "vllm"'""", "true", r"s.yaml:9: knobs.block.when: needs a text, got true; put it in quotes"),
        ("""'engine == "vllm"'""", "'engine = 1'", r"s.yaml:9: knobs.block.when: 'engine = 1' is not .* write `==`"),
        ("""'engine == "vllm"'""", "MODE == 'a'", r"s.yaml:6: knobs: .* block → MODE → block; break the circle"),
        ("""'engine == "vllm"'""", "block == 8", r"s.yaml:6: knobs: .* block → block; break the circle"),
        ("block == 16", "block == 32", r"s.yaml:10: knobs.MODE.when: 'block == 32' holds for no .*block is one of"),
        ("{values: [1, 8],", "{kind: args, values: [1, 8],", "s.yaml:11: knobs.max_batch_size: .* is a standard knob"),
        ("values: [1, 8], when", "values: [1, 0], when", r"s.yaml:11: knobs.max_batch_size.values\[1\]: .* got 0"),
        ("{kind: args, values: [8, 16],", "{values: [8, 16],", "s.yaml:9: knobs.block: not a standard knob"),
    ],
)  # fmt: skip
def test_an_error_names_the_line_and_the_remedy(old, new, said):
    with pytest.raises(SpecError, match=said):
        parse(changed(old, new))


@pytest.mark.parametrize(
    ("default", "said"),
    [
        (
            "{engine: trt, tp: 2, pp: 1, block: 8, max_batch_size: 1}",
            "default.block: block does not exist here, as .*vllm",
        ),
        ("{engine: trt, tp: 2, pp: 1}", "default: leaves out max_batch_size; name a value"),
        (
            "{engine: trt, tp: 8, pp: 4, max_batch_size: 1}",
            r"default: breaks 'tp \* pp <= 8' of `where`; choose values",
        ),
        ("{engine: vllm, tp: 1, pp: 1, block: 16}", "default: leaves out MODE"),
    ],
)
def test_a_default_that_is_not_allowed_is_refused(default, said):
    with pytest.raises(SpecError, match=f"s.yaml:15: {said}"):
        parse(GOOD + f"default: {default}\n")


def test_a_default_names_what_exists():
    spec = parse(GOOD + "default: {engine: trt, tp: 2, pp: 1, max_batch_size: 8}\n")
    assert spec.default_config == {"engine": "trt", "tp": 2, "pp": 1, "max_batch_size": 8}


def test_first_values_that_are_not_allowed_need_a_default_and_one_is_proposed():
    with pytest.raises(
        SpecError, match=r"s.yaml:13: where\[0\]: the first value .* `default` .* such as {engine: 'vllm', tp: 1, pp: 2"
    ):
        parse(changed("tp * pp <= 8", "tp * pp == 2"))


def test_a_million_is_counted_by_what_is_left():
    many = f"  tp: {{kind: args, values: {list(range(1, 1001))}}}\n"
    text = changed("  tp: {kind: args, values: [1, 2, 4, 8]}\n", many + many.replace("tp", "tq"))
    text = text.replace("tp * pp <= 8", "pp <= 2")
    with pytest.raises(SpecError, match="s.yaml:6: knobs: the values of .* make more than 1000000 configurations"):
        parse(text)
    spec = parse(text.replace("tp > 1\n", "tp > 1\n  - tp == tq\n"))
    assert len(space_of(spec.knobs, spec.where)) == 1000 * 2 * 3 + 999 * 2 * 2


def test_check_says_what_is_left_and_what_rules_nothing_out():
    spec = parse(GOOD + "  - tp <= 8\n" + "  - not (block == 8 and pp == 3)\n")
    notes = condition_notes(spec.knobs, spec.where)
    assert notes == (
        "`where` and `when` leave 39 configurations of 192 combinations of values",
        "where[2]: 'tp <= 8' always holds, so it rules nothing out; it can be left out",
        "where[3]: 'not (block == 8 and pp == 3)' always holds, so it rules nothing out; it can be left out",
    )
    said = [note.text for note in effects_view(Service(spec, runs_code=False).spec).notes]
    assert set(notes) <= set(said)
    spec = parse(changed("block == 16", "block > 1").replace("""'engine == "vllm"'""", "tp >= 1"))
    assert [note for note in condition_notes(spec.knobs, spec.where) if "always exists" in note] == [
        "knobs.block.when: 'tp >= 1' always holds, so block always exists; leave it out",
        "knobs.MODE.when: 'block > 1' always holds, so MODE always exists; leave it out",
    ]
    assert condition_notes({"cpu_cores": [1, 2]}, ()) == ()


def test_a_builder_must_do_without_an_argument_that_does_not_always_exist(tmp_path):
    (tmp_path / "of_when.py").write_text("def build(engine, tp, pp, block): return lambda rows: rows\n")
    text = changed("json:loads", "of_when:build")
    with pytest.raises(SpecError, match="s.yaml:2: model: .*block"):
        Service(parse(text, tmp_path))
    (tmp_path / "of_when_too.py").write_text("def build(engine, tp, pp, block=8): return lambda rows: rows\n")
    Service(parse(text.replace("of_when", "of_when_too"), tmp_path))

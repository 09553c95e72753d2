"""One rule wherever a service.yaml may hold a text as well as a number: what YAML reads as another one is refused."""

from pathlib import Path

import pytest

from raytune_infer.errors import SpecError
from raytune_infer.spec.document import Document, RecordedDocument
from raytune_infer.spec.service_spec import ServiceSpec, parse_spec

TEXT = """\
name: demo
model: {build: "json:loads", args: {version: 1.5, deep: [{a: [2.5]}]}}
samples: [[0.5, 2], {a: 7}]
knobs:
  gpu_type: [T4]
  gpu_share: [0.25, 0.50]
  revision: {kind: args, values: [3.5, "x"]}
  MODE: {kind: env, values: [4.5, "y"]}
default: {gpu_type: T4, gpu_share: 0.50, revision: 3.5, MODE: 4.5}
objective: {maximize: rps}
limits: {p99_ms: 1_000, error_rate: .05}
"""


def spec_of(text: str, kind: type[Document] = Document) -> ServiceSpec:
    return parse_spec(kind(text, "service.yaml"), folder=Path("."))


def test_where_only_a_number_may_stand_any_spelling_will_do():
    spec = spec_of(TEXT)
    assert spec.limits == {"p99_ms": 1000, "error_rate": 0.05} and spec.values("gpu_share") == [0.25, 0.5]


PLACES = {
    "model.args.version": ("version: 1.5", "version: SPELT"),
    "model.args.deep[0].a[0]": ("a: [2.5]", "a: [SPELT]"),
    "samples[0][0]": ("[[0.5, 2]", "[[SPELT, 2]"),
    "samples[1].a": ("{a: 7}", "{a: SPELT}"),
    "knobs.revision.values[0]": ('values: [3.5, "x"]', 'values: [SPELT, "x"]'),
    "default.revision": ("revision: 3.5, MODE: 4.5}", "revision: SPELT, MODE: 4.5}"),
}
SPELLINGS = {"3.10": "3.1", "1_000": "1000", "0x10": "16", ".5": "0.5", "~": "null"}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_spelling_is_refused_at_its_place_and_taken_in_quotes(place, spelling):
    old, new = PLACES[place]
    text = TEXT.replace(old, new)
    assert TEXT.count(old) == 1
    if place.startswith("default"):  # of a knob, whose values have it too
        text = text.replace('values: [3.5, "x"]', f"values: [{'x' if spelling == '~' else SPELLINGS[spelling]}]")
    if place.startswith("knobs"):  # whose default is another of its values
        text = text.replace("revision: 3.5, MODE", "revision: x, MODE")
    if spelling == "~" and place.startswith(("knobs", "default")):
        with pytest.raises(SpecError, match="null|nothing|needs"):
            spec_of(text.replace("SPELT", spelling))
        return
    with pytest.raises(SpecError) as refused:
        spec_of(text.replace("SPELT", spelling))
    taken = SPELLINGS[spelling]
    said = f"{place}: YAML takes {spelling} for {taken}; write {taken}, or put it in quotes if it is a text"
    assert str(refused.value).startswith("service.yaml:") and str(refused.value).endswith(said)
    if not place.startswith("default"):
        assert spec_of(text.replace("SPELT", f"'{spelling}'")).name == "demo"


@pytest.mark.parametrize("spelling", [*SPELLINGS, "1e3", "0.00001", "true"])
def test_a_variable_is_the_text_that_is_written(spelling):
    """Of a number that has several spellings, only the one that the variable will have is taken."""
    text = TEXT.replace('4.5, "y"]', f'{spelling}, "y"]').replace("MODE: 4.5", "MODE: y")
    with pytest.raises(
        SpecError, match=r"knobs.MODE.values\[0\]: (an environment variable is text, and YAML|a knob's)"
    ):
        spec_of(text)
    assert spec_of(text.replace(f"[{spelling}", f"['{spelling}'")).values("MODE") == [spelling, "y"]


def test_a_file_that_a_run_has_recorded_is_read_as_it_was():
    for old, new in PLACES.values():
        if "revision" not in old and "values" not in old:
            assert spec_of(TEXT.replace(old, new.replace("SPELT", "3.10")), RecordedDocument).name == "demo"

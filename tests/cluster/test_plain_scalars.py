"""What YAML 1.1 takes for something else is refused where it stands; what is clear is read as everybody means it."""

import json
import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cluster.document import Document
from cluster.plain_scalars import unlike


class Plain(Document):
    plain = True


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("on", "s.yaml:2: YAML takes on for true; write true, or put it in quotes if it is a text"),
        ("No", "s.yaml:2: YAML takes No for false; write false, or put it in quotes if it is a text"),
        ("y: [yes]", "YAML takes yes for true"),
        ("010", "s.yaml:2: YAML takes 010 for 8; write 8, or put it in quotes if it is a text"),
        ("000", "YAML takes 000 for 0; write 0, or put it in quotes if it is a text"),
        ("-0o7", None),  # YAML 1.2's octal is a text here
        ("12:30", "YAML takes 12:30 for 750; write 750"),
        ("12e4567", "s.yaml:2: 12e4567 is a number that is too large; put it in quotes if it is a text"),
        ("1:30.5", "YAML takes 1:30.5 for 90.5; write 90.5"),
    ],
)
def test_what_is_read_otherwise_than_it_is_written_is_refused(written, said):
    text = f"a:\n  {written}\n"
    if said is None:
        assert Document(text, "s.yaml").values == {"a": written}
        return
    with pytest.raises(ValueError, match="YAML takes|too large") as refused:
        Document(text, "s.yaml")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("true", True),
        ("False", False),
        ("'on'", "on"),
        ('"010"', "010"),
        ("'12:30'", "12:30"),
        ("0", 0),
        ("-7", -7),
        ("0x1F", 31),
        ("1_000", 1000),
        ("0.5", 0.5),
        ("1e-3", 0.001),
        ("-2E+4", -2e4),
        (".inf", math.inf),
        ("1.5e2", 150.0),
        ("007e2", "007e2"),
        (".5e1", ".5e1"),
        ("e3", "e3"),
        ("1e", "1e"),
        ("1e3x", "1e3x"),
        ("'1e3'", "1e3"),
        ("onward", "onward"),
        ("09", "09"),
        ("1.2.3", "1.2.3"),
        ("a:b", "a:b"),
        ("null", None),
        ("~", None),
    ],
)
def test_what_is_clear_is_read_as_meant(written, read):
    [value] = Document(f"a: {written}", "s.yaml").values.values()
    assert (type(value), value) == (type(read), read)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("2024-06-01", "s.yaml:1: YAML takes 2024-06-01 for a date; put it in quotes"),
        ("{day: [2024-06-01 10:00:00]}", "YAML takes 2024-06-01 10:00:00 for a date"),
        ("!!set {x}", "s.yaml:1: a !!set is not taken; use a text"),
        ("!!binary aGk=", "a !!binary is not"),
        ("!!omap [x: 1]", "a !!omap is not"),
    ],
)
def test_values_that_json_does_not_have_are_refused_where_they_are_to_be_stored(written, said):
    Document(f"a: {written}", "s.yaml")
    with pytest.raises(ValueError, match="a date|is not taken") as refused:
        Plain(f"a: {written}", "s.yaml")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("written", "remedy"),
    [
        ("@user", "put a text that begins with this character in quotes"),
        ("`code`", "put a text that begins with this character in quotes"),
        ("%d items", "put a text that begins with this character in quotes"),
        ("*.jsonl", "put a text that begins with * or & in quotes"),
        ("*rest", "or put a text that begins with * in quotes"),
        ("!file x", "leave the tag out, or put the text in quotes"),
        ("{{ question }}", "put a text that begins with { or [ in quotes"),
        ("{k: a: b}", "put a text that holds a colon, a quotation mark or a bracket in quotes"),
        ("['it's']", "put a text that holds a colon, a quotation mark or a bracket in quotes"),
        ("[1, 2", "close the bracket"),
        ("\tx", "indent with spaces"),
        ("12345678901234567890", "put it in quotes if it is a text"),
        (
            '"a\\0b"',
            r"a text with the character NUL, \0); leave it out, as neither variables nor databases can hold it",
        ),
        (r'"\ud83d"', "put the whole character, not half of it"),
    ],
)
def test_text_that_looks_like_yaml_is_refused_with_what_to_do(written, remedy):
    with pytest.raises(ValueError, match=r"s.yaml:\d+: ") as refused:
        Document(f"a: {written}\nb: 1", "s.yaml")
    assert remedy in str(refused.value)


def test_what_was_accepted_once_is_read_as_it_was_then():
    class Recorded(Document):
        strict = False

    text = "a: [on, 010, 12:30, 1e-3, 2024-06-01]"
    assert Recorded(text, "s.yaml").values == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("3.10", "YAML takes 3.10 for 3.1; write 3.1, or put it in quotes if it is a text"),
        ("1.00", "YAML takes 1.00 for 1.0; write 1.0"),
        ("1_000", "YAML takes 1_000 for 1000; write 1000"),
        ("0x10", "YAML takes 0x10 for 16; write 16"),
        ("0b11", "YAML takes 0b11 for 3"),
        ("+5", "YAML takes +5 for 5"),
        (".5", "YAML takes .5 for 0.5"),
        ("5.", "YAML takes 5. for 5.0"),
        ("~", "YAML takes ~ for null; write null"),
        ("0.1000000000000000055511151231257827", "for 0.1; write 0.1"),
        ("1.5E3", None), ("1e3", None), ("1e-5", None), ("-2.5e+1", None),
        ("0.00001", None), ("3.1", None), ("-7", None), ("0", None), ("0.0", None), ("12345678901", None),
        (".inf", None),
        ("null", None), ("Null", None), ("", None), ("true", None), ("False", None),
        ("09", "YAML takes 09 for a text; put it in quotes, or write it as JSON has it if it is a number"),
        (".5e1", "YAML takes .5e1 for a text"),
        ("1.2.3", None), ("a", None), ("1e3x", None), ("1,000", None), ("v3.10", None),
        ("'3.10'", None), ('"~"', None), ("'09'", None),
    ],
)  # fmt: skip
def test_where_a_text_may_stand_too_a_number_is_written_as_json_has_it(written, said):
    document = Document(f"a: {written}", "s.yaml")
    plain = document.written(("a",))
    found = None if plain is None else unlike(plain, document.values["a"])
    assert found is said is None or said in found


@given(st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.booleans()))
def test_what_json_writes_is_always_clear(value):
    """And so is what we propose to write instead."""
    text = json.dumps(value)
    document = Document(f"a: {text}", "s.yaml")
    assert document.values["a"] == value and unlike(text, document.values["a"]) is None
    assert unlike(repr(value), value) is None


def test_a_key_of_a_mapping_is_its_own_although_another_one_is_merged_in():
    document = Document("base: &base {a: 3.10, b: 2}\nc:\n  <<: *base\n  a: 4\n", "s.yaml")
    assert document.values["c"] == {"a": 4, "b": 2}
    assert document.written(("c", "a")) == "4" and document.line(("c", "a")) == "s.yaml:4"
    assert document.written(("c", "b")) == "2"


@pytest.mark.parametrize("begin", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_file_of_any_editor_has_the_same_values_and_lines(tmp_path, begin, end):
    (tmp_path / "s.yaml").write_bytes((begin + end.join(["a: 1", "b: [x,", "  y]", "c: on", ""])).encode())
    with pytest.raises(ValueError, match=r"s.yaml:4: YAML takes on for true"):
        Document.read(tmp_path / "s.yaml")
    (tmp_path / "s.yaml").write_bytes((begin + end.join(["a: 1", "b: [x,", "  y]", "c: |", "  l", "  m", ""])).encode())
    assert Document.read(tmp_path / "s.yaml").values == {"a": 1, "b": ["x", "y"], "c": "l\nm\n"}


@pytest.mark.parametrize("text", ["a:\n\tb: 1\n", "a:\n  b: 1\n\tc: 2\n", "\ta: 1\n", "a:\n  - x\n\t- y\n"])
def test_a_tab_that_indents_is_refused_with_the_remedy(text):
    with pytest.raises(ValueError, match=r"s.yaml:\d: .*; indent with spaces, not with tabs"):
        Document(text, "s.yaml")

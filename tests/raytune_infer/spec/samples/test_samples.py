"""What loads a replica: sets of samples and their mixes, patterns of arrivals and recorded traces."""

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from raytune_infer.errors import SpecError
from raytune_infer.spec.arrivals import read_arrivals
from raytune_infer.spec.document import Document
from raytune_infer.spec.samples.samples import mixed, read_samples
from raytune_infer.spec.service_spec import ServiceSpec, parse_spec
from serve_deployments.load.arrivals import CONSTANT, POISSON, Renewal, Trace

GOOD = "name: a\nmodel: {path: x}\nknobs: {cpu_cores: [1]}\nobjective: {maximize: rps}\n"


def spec(rest: str, folder: Path = Path()) -> ServiceSpec:
    return parse_spec(Document(GOOD + rest, "service.yaml"), folder=folder)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "short.txt").write_text("a\n\nb\nc\n")
    (tmp_path / "long.txt").write_text("A\n")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "some.jsonl").write_text('{"x": 1}\n\n[2]\n')
    (tmp_path / "broken.jsonl").write_text('1\n\n{"x": }\n')
    (tmp_path / "some.json").write_text("[1, 2]")
    (tmp_path / "separators.jsonl").write_bytes('"a\u2028b"\r\n"c\x85d"\r\n'.encode())
    (tmp_path / "joined.TXT").write_bytes("\ufeffone\n\ufefftwo\n".encode())
    (tmp_path / "utf16.txt").write_bytes("one\ntwo\n".encode("utf-16-le"))
    (tmp_path / "pages.txt").write_text("one\x0cpage\n\ntwo\u2029lines\n")
    (tmp_path / "one.json").write_text("3")
    np.save(tmp_path / "rows.npy", np.arange(6).reshape(3, 2))
    np.save(tmp_path / "number.npy", np.float64(3))
    np.save(tmp_path / "objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "archive.npz", a=np.zeros(2))
    (tmp_path / "archive.npz").rename(tmp_path / "archive.npy")
    (tmp_path / "photos.v1" / "more").mkdir(parents=True)
    (tmp_path / "photos.v1" / "b.png").write_bytes(b"\x89PNG")
    (tmp_path / "photos.v1" / "a.wav").write_bytes(b"RIFF\0")
    (tmp_path / "photos.v1" / ".DS_Store").write_bytes(b"x")
    return tmp_path


def test_samples_are_listed_or_read(folder):
    assert read_samples(spec("samples: [1, b]")) == [1, "b"]
    assert read_samples(spec("samples: short.txt", folder)) == ["a", "b", "c"]
    assert read_samples(spec("samples: some.jsonl", folder)) == [{"x": 1}, [2]]
    assert read_samples(spec("samples: some.json", folder)) == [1, 2]
    # What ends a line in a text of Unicode's ends none in a file of lines.
    assert read_samples(spec("samples: separators.jsonl", folder)) == ["a\u2028b", "c\x85d"]
    # Windows marks the beginning of a file, also of one that was joined to another.
    assert read_samples(spec("samples: joined.TXT", folder)) == ["one", "two"]
    assert read_samples(spec("samples: pages.txt", folder)) == ["one\x0cpage", "two\u2029lines"]
    assert [row.tolist() for row in read_samples(spec("samples: rows.npy", folder))] == [[0, 1], [2, 3], [4, 5]]
    assert read_samples(spec("samples: photos.v1", folder)) == [b"RIFF\0", b"\x89PNG"]
    assert set(read_samples(spec("samples: {photos.v1/: 1, long.txt: 1}", folder))) == {b"RIFF\0", b"\x89PNG", "A"}


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        ("[]", "samples: there are no samples"),
        ("empty.txt", "samples: there are no samples"),
        ("photos.v1/more", "samples: there are no samples"),
        ("nowhere.txt", "samples: cannot read nowhere.txt: No such file"),
        (
            "short.pkl",
            r"cannot read short.pkl: its type of file is not supported; supported are .*, .npy, and a folder",
        ),
        ("broken.jsonl", "cannot read broken.jsonl: line 3, column 7 is not JSON"),
        ("one.json", "a JSON list of inputs is needed, found a number"),
        ("utf16.txt", "cannot read utf16.txt: it is not UTF-8 text, or has NUL characters; save it as UTF-8"),
        ("number.npy", "no axis to take inputs from"),
        ("objects.npy", "cannot read objects.npy: .*allow_pickle=False"),
        ("archive.npy", "cannot read archive.npy: "),
        ("{}", "names no file"),
        ("{short.txt: 0.9, nowhere.txt: 0.1}", "service.yaml:5: samples.nowhere.txt: cannot read"),
        ("{short.txt: -1}", "service.yaml:5: samples.short.txt: must be above 0, got -1"),
        ("{short.txt: often}", "service.yaml:5: samples.short.txt: needs a number, got 'often'"),
        ("{short.txt: 1, long.txt: 1.0e-9}", "a share of 1e-09 is below one request in 100000"),
    ],
)
def test_bad_samples_are_named(folder, samples, says):
    with pytest.raises(SpecError, match=says):
        read_samples(spec(f"samples: {samples}", folder))


def test_a_mix_keeps_its_shares_and_is_always_the_same(folder):
    mix = read_samples(spec("samples: {short.txt: 0.9, long.txt: 0.1}", folder))
    counts = Counter(mix)
    assert len(mix) == 1000 and counts["A"] == 100
    assert counts["a"] == counts["b"] == counts["c"] == 300
    assert mix == read_samples(spec("samples: {short.txt: 9, long.txt: 1}", folder))
    # In random order: the gaps between the long ones are those of chance, not of a turn.
    gaps = np.diff(np.flatnonzero(np.array(mix) == "A"))
    assert gaps.std() / gaps.mean() > 0.7


def test_a_round_of_a_mix_has_every_sample():
    mix = mixed([range(5000), ["x"]], [1.0, 1.0], np.random.default_rng(1))
    assert set(mix) == {*range(5000), "x"} and mix.count("x") == 5000
    assert [value for value in mix if value != "x"] == list(range(5000))


@pytest.mark.parametrize(
    ("asked", "pattern"),
    [
        ("poisson", POISSON),
        ("constant", CONSTANT),
        ("{gamma: {cv: 2}}", Renewal(2.0)),
        ("{trace: seconds.csv}", Trace((1.5, 2.0, 10.0))),
        ("{trace: moments.csv}", Trace((1767225600.0, 1767225600.25, 1767232800.0))),
    ],
)
def test_arrivals_are_read_as_written(tmp_path, asked, pattern):
    (tmp_path / "seconds.csv").write_text('timestamp\n1.5\n2\n\n"1e1"\n')
    # 2026-01-01 is day 20454 of 1970's calendar; +01:00 is an hour before UTC says so.
    (tmp_path / "moments.csv").write_text("2026-01-01\n2026-01-01T01:00:00.25+01:00\n2026-01-01 02:00:00Z\n")
    assert read_arrivals(spec(f"samples: [x]\nload: {{arrivals: {asked}}}\n", tmp_path)) == pattern


def test_times_without_a_zone_are_those_of_utc_on_every_machine(tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text("1970-01-01T01:00\n1970-01-01T03:00\n")
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        pattern = read_arrivals(spec("samples: [x]\nload: {arrivals: {trace: t.csv}}\n", tmp_path))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert pattern == Trace((3600.0, 10800.0))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "service.yaml:6: load.arrivals.trace: cannot replay x.csv: No such file"),
        ("1\n3\n2\n", "x.csv: line 3: '2' is earlier than the line above it; sort"),
        ("t\n1\n", "at least two arrivals, this one has 1"),
        ("", "this one has 0"),
        ("1\n1\n", "at the same time, so it has no rate"),
        ("1\nsoon\n", "line 2: 'soon' is not a number of seconds; the file needs one column"),
        ("1\n2026-01-01\n", "line 2: '2026-01-01' is not a number of seconds"),
        ("2026-01-01\n5 h\n", "line 2: '5 h' is not an ISO 8601 time such as 2026"),
        ("t,n\n1,5\n2,5\n", "line 2: '1,5' is no"),
        (b"\xff\xfe1\x00", "not UTF-8 text"),
        ("1\nnan\n", "line 2: 'nan' is not a number"),
    ],
)
def test_bad_traces_are_named(tmp_path, text, says):
    if text is not None:
        (tmp_path / "x.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SpecError, match=says):
        read_arrivals(spec("samples: [x]\nload: {arrivals: {trace: x.csv}}\n", tmp_path))


@pytest.mark.parametrize(
    ("arrivals", "says"),
    [
        ("gauss", "load.arrivals: needs 'poisson', 'constant' or 'recorded' or a mapping of keys, got 'gauss'"),
        ("{}", "load.arrivals: give either `gamma: {cv: 2}` or `trace: FILE.csv`"),
        ("{gamma: {cv: 2}, trace: x}", "load.arrivals: give either"),
        ("{gamma: {cv: -1}}", "load.arrivals.gamma.cv: must be 0 or more, got -1"),
        ("{gamma: {cv: 11}}", "load.arrivals.gamma.cv: must be at most 10, got 11"),
        ("{gamma: {}}", "load.arrivals.gamma: 'cv' is missing"),
        ("{gama: {cv: 1}}", "load.arrivals.gama: unknown key; allowed are gamma, trace"),
    ],
)
def test_bad_patterns_are_named(arrivals, says):
    with pytest.raises(SpecError, match=says):
        spec(f"samples: [x]\nload: {{arrivals: {arrivals}}}\n")

"""However a command ends, the user is told in a sentence: without a traceback, in whatever encoding, and lossless."""

import io
import os
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from raytune_infer.commands import app as module
from raytune_infer.errors import RunError


@pytest.fixture
def ended(monkeypatch, capsys):
    """Called with what the command raises and the words: exit code or exception, and what was said."""

    def run(error, *words):
        def command(given, **options):
            assert "--debug" not in given
            raise error

        monkeypatch.setattr(module, "app", command)
        monkeypatch.setattr(sys, "argv", ["raytune-infer", *words])
        with pytest.raises((SystemExit, type(error))) as caught:
            module.main()
        return getattr(caught.value, "code", caught.value), capsys.readouterr().err

    return run


def test_what_was_foreseen_is_a_sentence(ended):
    assert ended(RunError("no run in [/there]; make one"), "show", "x") == (1, "error no run in [/there]; make one\n")


def test_what_was_not_is_named_with_its_kind_and_the_way_to_learn_more(ended):
    code, said = ended(ZeroDivisionError("division by zero"), "show", "x")
    assert code == 1 and said.startswith("error ZeroDivisionError: division by zero\n") and "add --debug" in said


@pytest.mark.parametrize("typed", ["[/INST]", "[red]x[/]", "ends with \\", ":smile:", "two\nlines"])
def test_what_a_user_typed_is_told_as_it_is(ended, typed):
    assert ended(RunError(f"no run in {typed}"), "show") == (1, f"error no run in {typed}\n")


def test_a_terminal_takes_no_command_from_an_error(ended):
    _, said = ended(RunError("no run in \x1b[31m\x9b2J\r\ud83d"), "show")
    assert said == "error no run in \\x1b[31m\\x9b2J\\r\\ud83d\n"


@pytest.mark.parametrize("words", [("--debug", "show", "x"), ("show", "x", "--debug")])
def test_debug_shows_where_it_comes_from(ended, words):
    error = ZeroDivisionError("division by zero")
    assert ended(error, *words)[0] is error


def test_an_interruption_is_not_explained_away(ended):
    assert isinstance(ended(KeyboardInterrupt(), "show")[0], KeyboardInterrupt)


def test_a_terminal_of_another_encoding_ends_nothing_and_loses_nothing(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "argv", ["raytune-infer"])
    monkeypatch.setattr(module, "app", lambda words, **options: print("≥ 5 ms, für immer 模"))
    with pytest.raises(SystemExit):
        module.main()
    out.seek(0)
    assert out.read() == ">= 5 ms, für immer \\u6a21\n"


@pytest.mark.parametrize(
    ("seed", "bound"), [("-1", "greater than or equal to 0"), (str(2**63), f"less than or equal to {2**63 - 1}")]
)
def test_a_seed_that_cannot_be_used_is_refused_by_its_bounds(monkeypatch, capsys, seed, bound):
    monkeypatch.setattr(sys, "argv", ["raytune-infer", "tune", "service.yaml", "--seed", seed])
    with pytest.raises(SystemExit) as refused:
        module.main()
    said = capsys.readouterr().err
    assert refused.value.code == 2 and "'--seed'" in said and bound in said


WRONG_WORDS = {
    "export run --to k8s": "error Invalid value for '--to': *'serve'; `* export --help` says what it takes",
    "tune s.yaml --trails 3": "error No such option: --trails *; `* tune --help` says what it takes",
    "tune": "error Missing argument 'SERVICE_YAML'; `* tune --help` says what it takes",
    "tune s.yaml --trials x": "error Invalid value for '--trials': *; `* tune --help` says what it takes",
    "tune s.yaml --trials 0": "error Invalid value for '--trials': *; `* tune --help` says what it takes",
    "tune s.yaml other.yaml": "error Got unexpected extra argument*other.yaml*; `* tune --help` says what it takes",
    "tune s.yaml --out": "error Option '--out' requires an argument*",
    "tun s.yaml": "error No such command 'tun'*; `* --help` says what it takes",
    "--no-such": "error No such option: --no-such*; `* --help` says what it takes",
    "show [red]a[/] --x": "error No such option: --x*; `* show --help` says what it takes",
    "meta-train --model x --out y": "error Invalid value for '--model': *; `* meta-train --help` says what it takes",
}


@pytest.mark.parametrize("words", WRONG_WORDS)
def test_wrong_words_are_told_in_the_style_of_any_other_error(monkeypatch, capsys, words):
    monkeypatch.setattr(sys, "argv", ["raytune-infer", *words.split()])
    with pytest.raises(SystemExit) as refused:
        module.main()
    [line] = capsys.readouterr().err.splitlines()
    assert refused.value.code == 2 and fnmatch(line, WRONG_WORDS[words]), line


@pytest.mark.parametrize(("words", "code"), [([], 2), (["--help"], 0), (["--version"], 0), (["tune", "--help"], 0)])
def test_help_is_no_error(monkeypatch, capsys, words, code):
    monkeypatch.setattr(sys, "argv", ["raytune-infer", *words])
    with pytest.raises(SystemExit) as ended:
        module.main()
    said = capsys.readouterr()
    assert (ended.value.code or 0) == code and "error" not in said.err.splitlines()[:1]
    assert "raytune-infer" in said.out + said.err or "Usage" in said.out + said.err


def test_the_code_that_a_command_ends_with_is_the_codes_of_the_process(monkeypatch, capsys):
    def stopped(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("raytune_infer.spec.service_spec.load_spec", stopped)
    monkeypatch.setattr(sys, "argv", ["raytune-infer", "tune", "s.yaml"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 130 and "error" not in capsys.readouterr().err


def test_modules_of_the_current_folder_do_not_hide_ours(tmp_path):
    """As a command has it; with -m Python looks in the current folder first."""
    for name in ("cluster", "searchers", "serve_deployments"):
        (tmp_path / f"{name}.py").write_text("raise ValueError('not ours')")
    words = [sys.executable, "-m", "raytune_infer", "show", "nowhere"]
    ours = str(Path(module.__file__).parents[2])
    told = subprocess.run(
        words, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ours}
    )  # fmt: skip
    assert told.stderr.startswith("error no run in nowhere")

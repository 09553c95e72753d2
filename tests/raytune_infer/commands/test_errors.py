"""However a command ends, the user is told in a sentence: without a traceback, in whatever encoding, and lossless."""

import io
import re
import sys

import pytest

from raytune_infer.commands import app as module
from raytune_infer.errors import RunError


@pytest.fixture
def ended(monkeypatch, capsys):
    """Called with what the command raises and the words: exit code or exception, and what was said."""

    def run(error, *words):
        def command(given):
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
    monkeypatch.setattr(module, "app", lambda words: print("≥ 5 ms, für immer"))
    module.main()
    out.seek(0)
    assert out.read() == "\\u2265 5 ms, für immer\n"


@pytest.mark.parametrize(
    ("seed", "bound"), [("-1", "greater than or equal to 0"), (str(2**63), f"less than or equal to {2**63 - 1}")]
)
def test_a_seed_that_cannot_be_used_is_refused_by_its_bounds(monkeypatch, capsys, seed, bound):
    monkeypatch.setattr(sys, "argv", ["raytune-infer", "tune", "service.yaml", "--seed", seed])
    with pytest.raises(SystemExit) as refused:
        module.main()
    said = " ".join(re.sub("[│╭╮╰╯─]", " ", capsys.readouterr().err).split())
    assert refused.value.code == 2 and "'--seed'" in said and bound in said

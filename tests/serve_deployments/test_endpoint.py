"""The words of a failure: one line, whatever was raised."""

import pytest

from serve_deployments.endpoint import LONGEST_WORDS, DescribedError, first_line, is_out_of_memory


class OutOfMemoryError(RuntimeError):
    """As torch's, by name."""


class PanicException(BaseException):
    """As that of Rust's extensions."""


class Code:
    name = "RESOURCE_EXHAUSTED"


class AioRpcError(Exception):
    """As gRPC's: its text is a dump of several lines."""

    def code(self):
        return Code

    def details(self):
        return "Received message larger than max"

    def __str__(self):
        return "<AioRpcError of RPC that terminated with:\n\tstatus = …"


class Unspeakable(Exception):
    def __str__(self):
        raise KeyError("words")


@pytest.mark.parametrize(
    ("error", "full", "line"),
    [
        (ValueError("  first\nsecond"), False, "ValueError: first"),
        (ValueError(""), False, "ValueError"),
        (ValueError(" \n"), False, "ValueError"),
        (
            ValueError("cannot load state:\n  size mismatch\nmore"),
            False,
            "ValueError: cannot load state: size mismatch",
        ),
        (ValueError("nothing follows:"), False, "ValueError: nothing follows:"),
        (MemoryError("no room\nat all"), True, "no room"),
        (MemoryError(), True, "MemoryError"),
        (OutOfMemoryError("CUDA out of memory"), True, "CUDA out of memory"),
        (PanicException("index out of bounds"), False, "PanicException: index out of bounds"),
        (DescribedError("PanicException: x"), False, "PanicException: x"),
        (DescribedError(""), False, "DescribedError"),
        (AioRpcError(), False, "AioRpcError: RESOURCE_EXHAUSTED: Received message larger than max"),
        (Unspeakable(), False, "Unspeakable: (its message cannot be shown: KeyError)"),
    ],
)
def test_an_error_is_told_by_its_first_line(error, full, line):
    assert is_out_of_memory(error) is full and first_line(error) == line


def test_the_words_of_an_error_are_bounded():
    exactly = first_line(DescribedError("x" * LONGEST_WORDS))
    assert exactly == "x" * LONGEST_WORDS
    longer = first_line(ValueError("x" * 10_000_000))
    assert len(longer) == LONGEST_WORDS and longer.startswith("ValueError: xx") and longer.endswith("x…")

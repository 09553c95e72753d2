"""Whatever a user's code raises leaves it as an ordinary exception with its words."""

import argparse
import asyncio
import sys

import pytest

from serve_deployments.endpoint import DescribedError
from serve_deployments.models.live.contained import contained, contained_build, contained_later


class PanicException(BaseException):
    """As that of Rust's extensions."""


def raising(error):
    raise error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (PanicException("index out of bounds"), "PanicException: index out of bounds"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (StopIteration(), "StopIteration"),  # a future does not take it: the request would wait for ever
        (asyncio.CancelledError(), "CancelledError: the model cancelled a task that it waits for"),
        (SystemExit("no model here"), "SystemExit: no model here; a model must not end its process; with argparse,"),
        (SystemExit(), "SystemExit; a model must not end its process"),
    ],
)
def test_what_is_no_ordinary_exception_becomes_one(error, says):
    async def wait():
        raise error

    for call in (contained, contained_build):
        with pytest.raises(DescribedError) as told:
            call(raising, error)
        assert str(told.value).startswith(says) and told.value.__cause__ is error
    if not isinstance(error, StopIteration):  # Python itself turns it into a RuntimeError
        with pytest.raises(DescribedError) as told:
            asyncio.run(contained_later(wait()))
        assert str(told.value).startswith(says)


def test_results_and_ordinary_exceptions_pass():
    async def wait(of):
        return of()

    for call in (contained, contained_build):
        assert call(max, 1, 2) == 2
        with pytest.raises(ValueError, match="^no$"):
            call(raising, ValueError("no"))
    assert asyncio.run(contained_later(wait(lambda: 2))) == 2
    with pytest.raises(ValueError, match="^no$"):
        asyncio.run(contained_later(wait(lambda: raising(ValueError("no")))))


def test_who_cancels_the_request_cancels_it():
    async def main():
        task = asyncio.create_task(contained_later(asyncio.sleep(60)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_what_argparse_wrote_is_told_and_written_all_the_same(monkeypatch, capsys):
    """It prints its words and exits with 2, which alone says nothing."""
    monkeypatch.setattr(sys, "argv", ["worker.py", "--node-ip-address=192.0.2.2"])
    with pytest.raises(DescribedError) as told:
        contained_build(argparse.ArgumentParser().parse_args)
    assert str(told.value) == (
        "SystemExit: 2 (worker.py: error: unrecognized arguments: --node-ip-address=192.0.2.2); a model must not end "
        "its process; with argparse, parse an empty list, `parse_args([])`"
    )
    assert "unrecognized arguments" in capsys.readouterr().err


def test_a_long_line_is_cut():
    def ends():
        print("x" * 5000, file=sys.stderr)
        print("", file=sys.stderr)
        sys.exit(1)

    with pytest.raises(DescribedError) as told:
        contained_build(ends)
    assert len(str(told.value)) < 300 and "(xxx" in str(told.value) and "x…); a model" in str(told.value)

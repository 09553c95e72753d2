"""The command-line arguments of every benchmark: --help, and where its figures go."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.recording.origin import command_of
from benchmarks.recording.sections import results_of


def parser_of(module: str, text: str | None) -> argparse.ArgumentParser:
    """A parser whose help shows the benchmark's command and docstring.

    Args:
        module: the benchmark's `__name__`.
        text: the benchmark's `__doc__`.
    """
    return argparse.ArgumentParser(
        prog=command_of(module), description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def recording_parser_of(module: str, text: str | None) -> argparse.ArgumentParser:
    """The same, with --out, for a benchmark whose figures become a section of a file of results."""
    parser = parser_of(module, text)
    results = results_of(module)
    parser.add_argument(
        "--out", type=Path, default=results, metavar="FILE",
        help=f"Markdown file whose section is replaced; by default {'/'.join(results.parts[-3:])}",
    )  # fmt: skip
    return parser

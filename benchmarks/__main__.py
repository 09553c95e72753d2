"""Runs one benchmark, or lists them all.

    python -m benchmarks                    what there is, with a line each
    python -m benchmarks NAME [options]     runs it; --help says which options it has

Run it from the repository's root. Figures go into RESULTS.md in the benchmark's folder, unless --out says otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from benchmarks.listing import LISTED, listing, module_of


def main(arguments: Sequence[str]) -> None:
    """Runs the benchmark that is named, or lists all of them.

    Raises:
        SystemExit: there is no benchmark of that name, or the benchmark exits with a code of its own.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__ if arguments else listing())
        return
    name, *options = arguments
    if name not in LISTED:
        raise SystemExit(f"no benchmark {name!r}; there are\n\n{listing()}")
    # Import only this one: others need Ray, torch or an extra that may not be installed.
    import_module(module_of(name)).main(options)


if __name__ == "__main__":
    main(sys.argv[1:])

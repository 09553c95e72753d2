"""Entry point: `python -m raytune_infer` does the same as the command `raytune-infer`."""

import sys
from pathlib import Path

# With -m Python puts the current folder first. A user's `cluster.py` there would be imported in place of our package.
if not sys.flags.safe_path and Path(sys.path[0]).resolve() != Path(__file__).resolve().parent.parent:
    del sys.path[0]

from raytune_infer.commands.app import main  # noqa: E402  # after the path has been set

main()

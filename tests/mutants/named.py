"""Faults that someone thought of: files under faults/, each a list of name, file, old, new and perhaps `ray: true`.

The files are in folders like the packages.
"""

from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.mutants.areas import ROOT
from tests.mutants.fault import Fault, changed

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is there

FAULTS = Path(__file__).parent / "faults"
NEEDED = {"name", "file", "old", "new"}


def named(root: Path = ROOT, folder: Path = FAULTS) -> Iterator[Fault]:
    """All of them.

    Raises:
        ValueError: one is incomplete, or its old text is not in its file exactly once: the code has moved on.
    """
    for file in sorted(folder.rglob("*.yaml")):
        for entry in yaml.load(file.read_text(encoding="utf-8"), Loader) or []:
            if not NEEDED <= entry.keys() <= NEEDED | {"ray"}:
                raise ValueError(f"{file.name}: a fault has {', '.join(sorted(NEEDED))} and perhaps ray, not {entry}")
            if not (root / entry["file"]).is_file():
                raise ValueError(f"{file.name}: {entry['name']!r} is in {entry['file']}, which is no file any more")
            source = (root / entry["file"]).read_text(encoding="utf-8")
            times = source.count(entry["old"])
            if times != 1:
                raise ValueError(
                    f"{file.name}: {entry['name']!r} changes {entry['old']!r}, "
                    f"which is in {entry['file']} {times} times; write what is there now, exactly once"
                )
            now = source.replace(entry["old"], entry["new"])
            yield changed(root, entry["file"], entry["name"], now, needs_ray=entry.get("ray", False))

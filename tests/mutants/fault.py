"""One fault: a file with one place changed."""

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path


@dataclass(frozen=True)
class Fault:
    """A changed file, and what was changed.

    Attributes:
        path: the file, relative to the repository.
        kind: what was done to it, such as "comparison" or the name that someone gave it.
        source: the whole changed file.
        line: where the change begins, from 1.
        was: the first changed line before.
        now: the same afterwards.
        needs_ray: whether only a test with Ray can notice.
    """

    path: str
    kind: str
    source: str
    line: int
    was: str
    now: str
    needs_ray: bool = False

    @property
    def key(self) -> str:
        """The same for the same change of the same file, in any process."""
        return hashlib.sha256(f"{self.path}\n{self.kind}\n{self.source}".encode()).hexdigest()[:16]


def changed(root: Path, path: str, kind: str, source: str, needs_ray: bool = False) -> Fault:
    """The fault that makes `source` of the file; refuses a change of nothing."""
    before, after = (root / path).read_text(encoding="utf-8").splitlines(), source.splitlines()
    first = same_from_the_start(before, after)
    last = same_from_the_start(before[first:][::-1], after[first:][::-1])
    # Only what lies between: to compare whole files takes a hundred times as long.
    was, now = before[first : len(before) - last], after[first : len(after) - last]
    for operation, i, i_end, j, j_end in difflib.SequenceMatcher(None, was, now, autojunk=False).get_opcodes():
        if operation != "equal":
            line = first + i + 1
            return Fault(
                path, kind, source, line, " ".join(was[i:i_end]).strip(), " ".join(now[j:j_end]).strip(), needs_ray
            )
    raise ValueError(f"{kind} changes nothing in {path}")


def same_from_the_start(one: Sequence[str], other: Sequence[str]) -> int:
    """How many lines both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))

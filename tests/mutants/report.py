"""The account of what was noticed: by area, by kind, and every survivor."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.mutants.areas import area_of
from tests.mutants.fault import Fault
from tests.mutants.trying import Outcome


@dataclass(frozen=True)
class Tried:
    """A fault and what the tests said of it."""

    fault: Fault
    outcome: Outcome


def report(tried: Sequence[Tried], skipped: int = 0) -> str:
    """Tables in Markdown.

    Args:
        tried: faults with their outcomes.
        skipped: named faults that were left out as they need a running Ray.
    """
    lines = [f"{share_of(tried)} noticed, in {sum(t.outcome.seconds for t in tried) / 60:.0f} minutes of one process"]
    if skipped:
        lines.append(f"{skipped} that only tests with Ray can notice were left out: --ray")
    lines += ["", "| area | noticed |", "| --- | --- |", *rows(tried, lambda t: area_of(t.fault.path))]
    if len({t.fault.kind for t in tried}) < len(tried) / 3:
        lines += ["", "| kind | noticed |", "| --- | --- |", *rows(tried, lambda t: t.fault.kind)]
    lines += ["", "| noticed by | faults |", "| --- | --- |"]
    lines += [f"| {way} | {count} |" for way, count in Counter(way_of(t) for t in tried if t.outcome.noticed).items()]
    lines += [f"- {t.fault.path}:{t.fault.line} {t.outcome.by}: `{t.fault.now}`" for t in tried if way_of(t) in UNSURE]
    survivors = [t for t in tried if not t.outcome.noticed]
    if survivors:
        lines += ["", "Not noticed:"]
    for survivor in sorted(survivors, key=lambda t: (t.fault.path, t.fault.line)):
        fault = survivor.fault
        lines += [f"- {fault.path}:{fault.line} {fault.kind}", f"  - `{fault.was}`", f"  + `{fault.now}`"]
    return "\n".join(lines) + "\n"


HANGS, DIES = UNSURE = ("tests that do not end", "a process that dies")
"""Ways in which a fault is noticed, or a busy machine: those that were are named one by one."""


def way_of(tried: Tried) -> str:
    """How a fault was noticed."""
    by = tried.outcome.by
    if by.startswith("not over after"):
        return HANGS
    if by.startswith("exit code"):
        return DIES
    return "a module that cannot be imported" if by.endswith("(import)") else "a test that fails"


def rows(tried: Sequence[Tried], group: Callable[[Tried], str]) -> list[str]:
    """A row a group, in the order of names."""
    return [f"| {name} | {share_of([t for t in tried if group(t) == name])} |" for name in sorted({*map(group, tried)})]


def share_of(tried: Sequence[Tried]) -> str:
    """`17 of 20 (85 %)`."""
    noticed = sum(t.outcome.noticed for t in tried)
    return f"{noticed} of {len(tried)}" + (f" ({100 * noticed / len(tried):.0f} %)" if tried else "")

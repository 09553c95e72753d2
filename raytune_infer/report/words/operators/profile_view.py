"""The profile of a service's model as a view: its operators, what is known of each, and what is key."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.operators.kinds import DISPATCH, OUTSIDE, UNMAPPED
from cluster.operators.profile import KEY_PART, Line, Profile
from cluster.operators.roofline import Roofline
from raytune_infer.counted import by_number, counted
from raytune_infer.operators.profiling import ServiceProfile
from raytune_infer.report.view import Cell, Column, Note, Row, Table, View
from raytune_infer.report.words.operators.roofline_chart import roofline_chart

WORDS = {
    UNMAPPED: "not in our table", DISPATCH: "torch calling its operators", OUTSIDE: "outside of operators",
}  # fmt: skip
"""Kind of what is no operator → its words."""
_MOST_NAMES = 3
_SLOWER = 1.1
"""Factor of a batch's time under the profiler from which it is said; our choice."""


def profile_view(found: ServiceProfile) -> View:
    """Return the view of a profile."""
    profile = found.profile
    chart = None
    if found.roofline is not None:
        chart = roofline_chart(found.roofline, profile.lines, found.precision)
    return View(
        f"Operators of {found.name}", f"a batch of {found.batch} at {found.precision}, {_device(found)}",
        tables=(_table(found),), notes=tuple(_notes(found)), answer=_answer(profile),
        charts=() if chart is None else (chart,),
    )  # fmt: skip


def _device(found: ServiceProfile) -> str:
    if found.roofline is not None:
        return found.roofline.device
    return found.place.context.device


def _answer(profile: Profile) -> str:
    """Return which operators are key, in a sentence."""
    key = profile.key
    if not key:
        largest = WORDS.get(profile.lines[0].kind, profile.lines[0].kind) if profile.lines else "nothing"
        return f"No operator is key: most of the time is {largest}."
    verb = by_number(len(key), "is the key operator", "are the key operators")
    return f"{_listed(key)} {verb}: {_part(profile, key)}."


def _part(profile: Profile, key: tuple[str, ...]) -> str:
    time = sum(profile.share(line) for line in profile.lines if line.kind in key)
    total = sum(line.memory_bytes for line in profile.lines)
    memory = sum(line.memory_bytes for line in profile.lines if line.kind in key) / total if total else 0.0
    return f"{time:.0%} of the time and {memory:.0%} of the memory"


def _table(found: ServiceProfile) -> Table:
    columns = (
        Column("operator", "operator", kind="text", key=True), Column("key", "key", kind="text"),
        Column("calls", "calls", digits="d"), Column("time_ms", "time", "ms"), 
        Column("share", "share", "%", digits=".1f"),
        Column("gflop", "work", "GFLOP"), Column("moved_mib", "moved", "MiB"),
        Column("intensity", "intensity", "FLOP/byte"), Column("gflop_per_s", "rate", "GFLOP/s"),
        Column("bound", "bound by", kind="text"), Column("of_roof", "of what is possible", "%", digits=".0f"),
        Column("memory_mib", "memory", "MiB"), Column("shapes", "shapes", digits="d"),
        Column("names", "as", kind="text"),
    )  # fmt: skip
    rows = [_row(line, found) for line in found.profile.lines]
    return Table("operators", columns, tuple(rows), title="time and memory of a batch, by operator")


def _row(line: Line, found: ServiceProfile) -> Row:
    profile, key = found.profile, ""
    in_time, in_memory = line.kind in profile.key_in_time, line.kind in profile.key_in_memory
    if line.is_operator:
        key = " and ".join(name for name, is_key in (("time", in_time), ("memory", in_memory)) if is_key)
    cells: tuple[Cell, ...] = (
        WORDS.get(line.kind, line.kind), key or None, line.calls if line.calls else None, line.time_s * 1e3,
        100 * profile.share(line),
    )  # fmt: skip
    names = ", ".join(line.names[:_MOST_NAMES]) + (", …" if len(line.names) > _MOST_NAMES else "")
    return Row(
        (*cells, *_work(line, found.roofline), line.memory_bytes / 2**20 or None, line.shapes or None, names or None),
        "best" if key else "",
    )


def _work(line: Line, roofline: Roofline | None) -> tuple[Cell, ...]:
    """Return work, bytes, intensity, rate, what bounds it, and how much of what is possible it reaches."""
    if not line.calls or line.kind == UNMAPPED:
        return (None,) * 6
    intensity, at = line.intensity, line.precision
    moved = line.moved_bytes / 2**20
    if intensity is None or not line.time_s or roofline is None:
        return (line.flops / 1e9 or None, moved or None, intensity, None, None, None)
    least_s = roofline.least_s(line.flops, line.moved_bytes, at)
    return (
        line.flops / 1e9 or None, moved, intensity or None, line.flops / line.time_s / 1e9 or None,
        roofline.bound(intensity, at), 100 * least_s / line.time_s,
    )  # fmt: skip


def _notes(found: ServiceProfile) -> Iterator[Note]:
    profile, trace = found.profile, found.profile.trace
    yield Note(
        f"A batch takes {profile.batch_s * 1e3:.4g} ms. Key: the fewest operators that account for {KEY_PART:.0%} of "
        "the time in operators, and of weights with what a batch holds at its peak"
        + (f" ({trace.peak_bytes / 2**20:.4g} MiB)." if trace.peak_bytes else ".")
    )
    if trace.calls and profile.batch_s and trace.traced_s > _SLOWER * profile.batch_s:
        yield Note(
            f"The profiler makes the batch {trace.traced_s / profile.batch_s:.2g} times as long; what is called often "
            "and does little seems larger here than it is."
        )
    if unmapped := [line for line in profile.lines if line.kind == UNMAPPED]:
        names = ", ".join(unmapped[0].names[:10])
        yield Note(
            f"{profile.unmapped_share:.1%} of the time is in operators that are not in our table: {names}.", "warning"
        )
    lacking = [line.kind for line in profile.lines if line.without_formula and line.kind != UNMAPPED]
    if lacking:
        yield Note(f"For some calls of {_listed(lacking)} the work is not known, and not counted.")
    if found.roofline is not None:
        peaks = ", ".join(f"{flops / 1e9:.4g} GFLOP/s at {name}" for name, flops in found.roofline.peak_flops.items())
        yield Note(
            f"Roofline of {found.roofline.device}: {peaks}, {found.roofline.bandwidth_bytes_s / 1e9:.4g} GB/s "
            f"({found.roofline.source})."
        )
    if found.classes:
        yield Note(
            f"The operators are of {counted(len(found.classes), 'class', 'classes')} of shapes, which follow the batch."
        )
    for note in found.notes:
        yield Note(note, "warning")


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

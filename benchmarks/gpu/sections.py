"""The text on each check: what was tried on the GPU, and whether it is as a replica says it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.gpu.checks import Job
from benchmarks.gpu.computing import COMPUTING
from benchmarks.gpu.speed import Rung
from benchmarks.recording.sections import markdown
from serve_deployments.resources.enforcement import Enforcement

Together = Callable[[Sequence[Job], Mapping[str, str]], list[dict[str, Any]]]


def told(finding: Mapping[str, Any], limit: str) -> Enforcement | None:
    """How a process reports that a limit was enforced; None if it does not report it."""
    return next((Enforcement(**each) for each in finding["told"] if each["limit"] == limit), None)


def in_words(enforcement: Enforcement | None) -> str:
    """Whether and how a limit was enforced, by what the process says."""
    if enforcement is None:
        return "–"
    return f"{'enforced' if enforcement.enforced else 'NOT enforced'}: {enforcement.how}"


def memory(job: Job, run: Together) -> str:
    """The text on whether a process can exceed its cap on the device's memory, and is clean after it tried."""
    [found] = run([replace(job, what="memory", memory=0.25)], {})
    kept = found["kept_bytes"]
    rows = [
        ["90 % of the cap", found["within"] or "fits"],
        ["110 % of the cap", found["beyond"] or "FITS: the cap does not hold"],
        ["kept on the device after that", f"{kept[0] / 2**20:.0f} MiB" if kept else "–"],
        ["90 % again", found["again"] or "fits"],
    ]
    about = (
        f"A cap of 25 %, {found['cap_gib']:.1f} GiB beside the {found['cuda_gib']:.2f} GiB of CUDA itself, is "
        f"{in_words(told(found, 'gpu_memory'))}."
    )
    return f"### Memory\n{about}\n\n{markdown(['allocation', 'outcome'], rows)}"


def quarters(job: Job, run: Together) -> str:
    """The text on whether four processes with a quarter of the memory each fit on the GPU at once, filled up."""
    found = run([replace(job, what="part", memory=0.25)] * 4, {})
    rows = [
        [str(number), each["fits"] or f"holds {each['held_gib']:.2f} GiB", in_words(told(each, "gpu_memory"))]
        for number, each in enumerate(found, start=1)
    ]
    return f"### Four quarters at once\n\n{markdown(['process', 'outcome', 'cap'], rows, text=(1, 2))}"


def share(job: Job, run: Together, env: Mapping[str, str]) -> str:
    """The text on rates under shares: one process relative to the whole GPU's, each of two relative to one alone."""

    def rates(*shares: float) -> list[dict[str, Any]]:
        return run([replace(job, share=each) for each in shares], env)

    [whole], [quarter], [half] = rates(1.0), rates(0.25), rates(0.5)
    both = rates(0.5, 0.5)
    rows = [
        ["25 % of the share, to all", f"{quarter['rate'] / whole['rate']:.3f}", _seen(quarter)],
        ["50 % of the share, to all", f"{half['rate'] / whole['rate']:.3f}", _seen(half)],
        *([f"{which} of two at 50 %, to one alone", f"{b['rate'] / half['rate']:.3f}", _seen(b)]
          for which, b in zip(("first", "second"), both, strict=True)),
        ["the two together, to all", f"{sum(b['rate'] for b in both) / whole['rate']:.3f}", _seen(whole)],
    ]  # fmt: skip
    name = "MPS" if job.mps else "green context"
    about = (
        f"Products of float32 matrices, {job.size} × {job.size}, in processes of their own; 25 % is "
        f"{in_words(told(quarter, 'gpu_share'))}. Multiprocessors are those on which blocks of a kernel ran."
    )
    return f"### Share by {name}\n{about}\n\n{markdown(['rate', 'ratio', 'multiprocessors'], rows)}"


def held(job: Job, run: Together) -> str:
    """The text on models that compute in other streams and threads: whether a share holds, and what is said of it."""
    rows = []
    for kind in COMPUTING:
        [whole], [quarter] = (run([replace(job, kind=kind, share=each)], {}) for each in (1.0, 0.25))
        if "left_out" in quarter:
            rows.append([kind, "–", "–", f"left out: {quarter['left_out']}"])
            continue
        compiled = told(quarter, "compile")
        said = in_words(told(quarter, "gpu_share")) + (f"; {in_words(compiled)}" if compiled else "")
        rows.append([kind, f"{quarter['rate'] / whole['rate']:.3f}", _seen(quarter), said])
    about = (
        "The rate of products at a share of 25 % relative to the whole GPU's. Wherever the ratio is far above 0.25, "
        "the record must say NOT enforced."
    )
    header = ["how the model computes", "ratio", "multiprocessors of its thread", "the record of the share"]
    return f"### Whom a share holds\n{about}\n\n{markdown(header, rows, text=(0, 3))}"


def graphs(job: Job, run: Together) -> str:
    """The text on CUDA graphs: none recorded under load, none of a model that has changed, what a failure leaves."""
    [found] = run([replace(job, what="graphs")], {})
    rows = [
        ["shapes that the samples can make", f"{found['shapes']}, run in {found['seconds']:.1f} s"],
        ["before the load", found["before"]],
        ["after it", f"{found['after']}; answers {'right' if found['right'] else 'WRONG'}"],
        ["freed when graphs and buffers are given up", f"{found['freed_bytes'] / 2**20:.0f} MiB"],
        ["a model of another weight then", "answers right" if found["doubled"] else "WRONG: answers by the old one"],
        ["a model that cannot be recorded", f"{found['failed']}; {'serves on' if found['serves_on'] else 'FAILS'}"],
        ["what torch keeps of it", f"{found['leaked_bytes'] / 2**20:.0f} MiB"],
        ["its process", found["spoilt"] or "NOT said to be spoilt"],
    ]
    return f"### CUDA graphs\n{markdown(['what', 'found'], rows, text=(0, 1))}"


def words(job: Job, run: Together) -> str:
    """The text on lacks of memory: by which words each comes, and whether they are recognised."""
    [found] = run([replace(job, what="words")], {})
    rows = [
        [name, kind, said, "recognised" if known else "NOT recognised"] for name, kind, said, known in found["raised"]
    ]
    return f"### Out of memory\n{markdown(['of what', 'type', 'words', 'counts'], rows, text=(0, 1, 2, 3))}"


def speed(job: Job, run: Together, model: str, **asked: Any) -> str:
    """The text on the parts of the speed path, for one model and batch size; for the arguments see `speed.ladder`."""
    [found] = run([replace(job, what="speed", speed={"model": model, **asked})], {})
    rungs = [Rung(**each) for each in found["rungs"]]
    rows = [
        [
            r.name,
            f"{r.rate:.0f}",
            f"{r.ratio:.2f}",
            f"{r.worst[0]:.2f}–{r.worst[1]:.2f}",
            f"{r.difference:.1e}",
            r.about,
        ]
        for r in rungs
    ]
    header = ["step", "texts/s", "× plain", "range over rounds", "largest difference", "remarks"]
    return f"### {model}, batches of {asked['batch']}\n{markdown(header, rows)}"


def _seen(found: Mapping[str, Any]) -> str:
    return "–" if found.get("seen") is None else str(found["seen"])

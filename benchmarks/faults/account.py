"""Runs one study under a fault, and checks its records afterwards."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.faults.faults import Fault, Saboteur
from benchmarks.faults.leftovers import nothing_left, what_is_there
from benchmarks.recording.origin import ROOT
from raytune_infer import Study
from raytune_infer.errors import AllFailed
from raytune_infer.spec.document import Document
from raytune_infer.spec.service_spec import ServiceSpec, parse_spec
from raytune_infer.store.records import Purpose, TrialRecord
from raytune_infer.store.run_folder import open_run
from raytune_infer.study.progress import Silent
from searchers.space import Config

SPEC = """\
name: chaos
model: {{build: "benchmarks.faults.misbehaving:model", args: {{behaviour: {behaviour}}}}}
samples: [x]
knobs:
  cpu_cores: [1]
  max_batch_size: [2, 4, 8, 16]
  batch_wait_ms: [0, 1]
  odd: {{kind: args, values: {odd}}}
objective: {{maximize: rps}}
load: {{precision: 0.5, level_min_s: 0.1, level_max_s: 2, total_max_s: 4, max_concurrency: 16}}
budget: {{trials: {trials}, compare_s: 0.1, deploy_s: 30}}
"""
_WITHIN_S = 1.5
"""Latest moment of a strike, in seconds after a trial's start: a trial takes about a second here, with a new replica
about four."""


@dataclass(frozen=True)
class Account:
    """The outcome of one study under a fault.

    Args:
        fault: the fault's name.
        hits: how often it struck; for a model that misbehaves, the number of trials whose configuration does.
        trials: trials of the search that ended.
        failed: trials that failed, those of the comparison at the end included.
        again: trials that were tried a second time, likewise.
        reasons: reason that a trial gave, at either attempt → how often.
        recommended: whether there was a recommendation; if not, the reason is among the breaches.
        seconds: duration of the whole study.
        breaches: the conditions that were violated, in words; empty if all is well.
    """

    fault: str
    hits: int
    trials: int
    failed: int
    again: int
    reasons: dict[str, int]
    recommended: bool
    seconds: float
    breaches: list[str] = field(default_factory=list)


def spec_text(fault: Fault) -> str:
    """The service.yaml of a study; half of its configurations misbehave if the model is the fault."""
    odd = [0] if fault.behaviour == "works" else [0, 1]
    return SPEC.format(behaviour=fault.behaviour, odd=odd, trials=fault.trials)


def disturbed(fault: Fault, out: Path, *, hits: int, seed: int) -> Account:
    """Runs one study under a fault, on the Ray cluster that this process is connected to.

    Args:
        fault: the fault.
        out: folder of the run.
        hits: how often it strikes from outside, each time in another trial.
        seed: seed of the search, and of the moments and victims of the strikes.
    """
    rng = random.Random(seed)
    numbers = frozenset(rng.sample(range(1, fault.trials + 1), min(hits, fault.trials)))
    saboteurs = [] if fault.strike is None else [Saboteur(fault.strike, numbers, rng, _WITHIN_S)]
    return survived(fault, out, saboteurs, seed=seed)


def survived(fault: Fault, out: Path, saboteurs: Sequence[Saboteur], *, seed: int) -> Account:
    """Runs one study while the saboteurs strike, then checks its records and looks for what it left behind."""
    before, began = what_is_there(), time.monotonic()
    spec = parse_spec(Document(spec_text(fault), "chaos.yaml"), folder=ROOT)
    said = _run(spec, out, saboteurs, seed)
    left = [f"left behind: {line}" for line in sorted(nothing_left(before))]
    left += [failure for saboteur in saboteurs for failure in saboteur.failures]
    hits = sum(saboteur.hits for saboteur in saboteurs)
    return account(fault, out, hits, said, left, time.monotonic() - began)


def _run(spec: ServiceSpec, out: Path, saboteurs: Sequence[Saboteur], seed: int) -> str | None:
    """Runs the study; returns why it has no recommendation, None if it has one."""
    try:
        Study(spec, searcher="random", seed=seed, out=out, history=False).run(progress=_Told(saboteurs))
    except AllFailed as error:
        return f"AllFailed: {error}"
    except Exception as error:
        return f"the study ended with {type(error).__name__}: {error}"
    finally:
        for saboteur in saboteurs:
            saboteur.leave()
    return None


class _Told(Silent):
    def __init__(self, saboteurs: Sequence[Saboteur]) -> None:
        self._saboteurs = saboteurs

    def started(self, number: int, purpose: Purpose, config: Config) -> None:
        for saboteur in self._saboteurs:
            saboteur.started(number)


def account(fault: Fault, out: Path, hits: int, said: str | None, left: Sequence[str], seconds: float) -> Account:
    """Reads the run's records and checks the conditions that must hold.

    Args:
        fault: the fault.
        out: folder of the run.
        hits: how often it struck from outside.
        said: why there is no recommendation; None if there is one.
        left: what was left behind, and other breaches found so far.
        seconds: duration of the whole study.
    """
    database, study = open_run(out).load()
    everything = database.trials(study)
    unfinished = database.interrupt_running(study)
    database.close()
    trials = fault.trials
    searched = [t for t in everything if t.purpose == "search"]
    failed = [t for t in everything if t.outcome.reason is not None]
    again = [t for t in everything if t.outcome.lost is not None]
    said_so = [words for t in everything for words in (t.outcome.reason, t.outcome.lost) if words]
    odd = [t for t in everything if t.config["odd"]]
    struck = hits if fault.strike else len(odd)
    breaches = [*left]
    if said is not None:
        breaches.append(said)
    if len(searched) != trials or len({t.position for t in searched}) != trials or study.trials != trials:
        breaches.append(f"{len(searched)} trials of {len({t.position for t in searched})} configurations, not {trials}")
    if len({t.number for t in everything}) != len(everything) or unfinished:
        breaches.append(f"{unfinished} trials without an end, or a number given twice")
    if len(failed) > struck or (not fault.strike and not set(map(_number, failed)) <= set(map(_number, odd))):
        breaches.append(f"{len(failed)} trials failed, {struck} were struck")
    if len(again) > struck:
        breaches.append(f"{len(again)} trials were tried again, {struck} were struck")
    breaches += [f"a trial says {words!r}" for words in said_so if re.match(fault.reason, words) is None]
    if fault.always and len(failed) < len(odd):
        breaches.append(f"{len(odd)} should have failed, {len(failed)} have")
    breaches += [f"trial {t.number} has neither a rate nor a reason" for t in everything if _silent(t)]
    return Account(
        fault=fault.name,
        hits=struck,
        trials=len(searched),
        failed=len(failed),
        again=len(again),
        reasons=dict(Counter(map(_shortened, said_so))),
        recommended=said is None,
        seconds=round(seconds, 1),
        breaches=breaches,
    )


def _number(trial: TrialRecord) -> int:
    return trial.number


def _silent(trial: TrialRecord) -> bool:
    return trial.outcome.reason is None and not trial.metrics.get("rps")


def _shortened(reason: str) -> str:
    """A reason without the parts that differ from trial to trial, for counting."""
    return re.sub(r"\d+", "N", reason)[:90]

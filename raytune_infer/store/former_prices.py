"""Trials that were recorded under a former rule of prices, priced by today's.

A part of a GPU's memory alone once cost that part of the GPU. But a replica without a limit on its compute leaves no
known part of the GPU to others, so it costs the whole one (`gpu_part`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.prices import NoPrice, PriceBook
from raytune_infer.errors import SpecError
from raytune_infer.spec.demand import demand, price, price_book
from raytune_infer.store.records import StudyRecord, TrialRecord
from searchers.space import Config

if TYPE_CHECKING:
    from raytune_infer.spec.service_spec import ServiceSpec

_MARK = "mps"
"""Setting that replicas had under the former rule, and no longer since the rule changed."""
_ROUNDING = 1e-9
"""Relative distance of two prices that only rounding tells apart."""


def priced_now(study: StudyRecord, trials: Sequence[TrialRecord]) -> tuple[TrialRecord, ...]:
    """Return a study's trials with prices, and values by them, of today's rule, also where another one was recorded.

    By trial, as a run that was begun under the former rule may have been resumed under today's. The price book is the
    one that the study's service.yaml names, if the recorded price is that of the former rule with it. Otherwise the
    price is not known any more.
    """
    former = {t.number for t in trials if _MARK in t.outcome.settings and _of_memory_alone(t.config)}
    if not former:
        return tuple(trials)
    spec, book = _spec_and_book(study)
    return tuple(_priced(t, spec, book) if t.number in former else t for t in trials)


def _of_memory_alone(config: Config) -> bool:
    """Whether a configuration has a part of a GPU's memory, and no limit on its compute."""
    memory = float(config.get("gpu_memory", 0))
    return demand(config).gpu_type is not None and 0 < memory < 1 and not float(config.get("gpu_share", 0))


def _priced(trial: TrialRecord, spec: ServiceSpec | None, book: PriceBook | None) -> TrialRecord:
    usd = math.nan if book is None else _price_anew(trial, book)
    value = trial.value if spec is None else spec.goal.value(trial.outcome.metrics, usd)
    return replace(trial, usd_per_hour=usd, value=value, priced="unknown" if math.isnan(usd) else "anew")


def _price_anew(trial: TrialRecord, book: PriceBook) -> float:
    """Return today's price of a trial; NaN if this is not the book by which it was priced."""
    needed = demand(trial.config)
    memory = float(trial.config["gpu_memory"])
    try:
        former = book.usd_per_hour(cpu_cores=needed.cpu_cores, gpu_type=needed.gpu_type, gpu_share=memory)
        return price(trial.config, book) if math.isclose(former, trial.usd_per_hour, rel_tol=_ROUNDING) else math.nan
    except NoPrice:
        return math.nan


def _spec_and_book(study: StudyRecord) -> tuple[ServiceSpec | None, PriceBook | None]:
    """Return a study's specification and the price book that it names; None for what cannot be read any more."""
    # Imported here because it is slow, and few runs need it.
    from raytune_infer.spec.document import RecordedDocument
    from raytune_infer.spec.service_spec import parse_spec

    spec = None
    with suppress(SpecError):
        spec = parse_spec(RecordedDocument(study.spec, study.name), folder=Path(study.folder))
        return spec, price_book(spec)
    return spec, None

"""The curves of a service's operators, and the configurations as predicted from them."""

from __future__ import annotations

from collections.abc import Sequence

from raytune_infer.operators.curve_study import StudiedCurves
from raytune_infer.operators.knob_effects import knob_effects
from raytune_infer.operators.prediction import NoPrediction, Predicted, Predictor, predict_all
from raytune_infer.operators.profiling import ServiceProfile
from raytune_infer.report.chart import Quantity
from raytune_infer.report.view import Column, Note, Row, Table, View
from raytune_infer.report.words.operators.curves_view import curves_view
from raytune_infer.spec.knobs.knob_space import configs_among
from raytune_infer.spec.service_spec import ServiceSpec
from raytune_infer.study.space import TRIAL_NOISE
from searchers.space import Config

_MOST = 10_000
"""Most configurations that are predicted for a view; our choice."""
_SHOWN = 20
"""Configurations that are shown, those with the highest rate; our choice."""


def studied_view(spec: ServiceSpec, profile: ServiceProfile, found: StudiedCurves) -> tuple[View, ...]:
    """Return the sections on curves and on what they predict."""
    values = {name: spec.values(name) for name in spec.knobs}
    configs = configs_among(spec.knobs, spec.where, values)[:_MOST]
    try:
        predictor = Predictor(profile, found.curves)
    except NoPrediction as error:
        return (
            curves_view(found, (), TRIAL_NOISE),
            View("Predicted", notes=(Note(f"Nothing is predicted: {error}."),)),
        )
    effects = knob_effects(predictor, profile, configs, noise=TRIAL_NOISE)
    predicted = predict_all(predictor, configs, profile)
    return curves_view(found, effects, TRIAL_NOISE), _predicted(configs, predicted)


def _predicted(configs: Sequence[Config], predicted: Sequence[Predicted | None]) -> View:
    known = [(config, each) for config, each in zip(configs, predicted, strict=True) if each is not None]
    best = sorted(known, key=lambda pair: -pair[1].rate_rps)[:_SHOWN]
    columns = (
        Column("config", "configuration", kind="config", key=True, spread=True),
        Column("rate", "rate", "requests/s", kind="quantity"), Column("batch_ms", "a batch", "ms", kind="quantity"),
        Column("covered", "from own curves", "%", digits=".0f"),
    )  # fmt: skip
    rows = [Row((config, _rate(each), _time(each), 100 * each.covered)) for config, each in best]
    notes = [
        Note(
            "By the sum of the operators' curves, under full load and without a server; intervals of 95 %. No trial "
            "was run."
        )
    ]
    if unknown := len(configs) - len(known):
        notes.append(Note(f"Nothing is predicted of {unknown} of {len(configs)}: no curve has their resources."))
    tables = (Table("predicted", columns, tuple(rows), title="the highest rates"),) if rows else ()
    return View("Predicted", tables=tables, notes=tuple(notes))


def _rate(each: Predicted) -> Quantity:
    return Quantity(each.rate_rps, each.batch / each.high_s, each.batch / each.low_s)


def _time(each: Predicted) -> Quantity:
    return Quantity(1e3 * each.seconds, 1e3 * each.low_s, 1e3 * each.high_s)

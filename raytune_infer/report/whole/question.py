"""What was asked: the service, its knobs and the terms, for a reader who has nothing but the report."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from raytune_infer.counted import counted
from raytune_infer.report.view import Column, Row, Table, View
from raytune_infer.report.whole.prediction import book_of
from raytune_infer.report.whole.run_facts import RunFacts
from raytune_infer.report.words.values import spelled, value_text
from raytune_infer.spec.knobs.knob_space import conditions
from raytune_infer.spec.knobs.knob_spec import KnobSpec
from raytune_infer.spec.service_spec import ServiceSpec
from searchers.space import Value

_MOST = 20  # values of a knob that are written out (our choice)


def question_view(facts: RunFacts) -> View:
    """Return the service and the terms of its study, as service.yaml gives them; values of arguments are left out."""
    spec, study = facts.spec, facts.study
    asked = {
        "model": _model(spec),
        "samples": _samples(spec),
        **{f"knob {name}": _values(spec.values(name)) + _when(spec.knobs[name]) for name in spec.knobs},
        **({"where": "; ".join(c.text for c in conditions(spec.where).values())} if spec.where else {}),
        "the default": spelled(spec.default_config),
        "searcher": f"{study.searcher}, seed {study.seed}",
        "budget of the search": counted(study.trials, "trial"),
        "prices": _prices(facts),
        "written by": f"raytune-infer {version('raytune-infer')}",
    }
    columns = tuple(Column(name, name, kind="text") for name in asked)
    return View("What was asked", tables=(Table("asked", columns, (Row(tuple(asked.values())),), layout="list"),))


def _model(spec: ServiceSpec) -> str:
    source = spec.model.path or spec.model.build or ""
    args = f", with the arguments {', '.join(spec.model.args)}" if spec.model.args else ""
    return f"{source}{args}"


def _samples(spec: ServiceSpec) -> str:
    if spec.requests is not None:
        return ": ".join(spec.requests.file) if spec.requests.file else "requests of drawn lengths"
    match spec.samples:
        case str():
            return spec.samples
        case list():
            return f"{counted(len(spec.samples), 'sample')} in service.yaml"
        case _:
            return ", ".join(f"{file}: {share:g}" for file, share in spec.samples.items())


def _values(values: Sequence[Value]) -> str:
    shown = ", ".join(map(value_text, values[:_MOST]))
    return shown if len(values) <= _MOST else f"{shown} and {len(values) - _MOST} more"


def _when(knob: list[Value] | KnobSpec) -> str:
    return f", when {knob.when}" if isinstance(knob, KnobSpec) and knob.when is not None else ""


def _prices(facts: RunFacts) -> str:
    book = book_of(facts)
    return str(facts.spec.prices) if book is None else f"{book.name}, {book.date}"

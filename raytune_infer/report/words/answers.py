"""Texts on answers: how those of a configuration differ from the default's."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from raytune_infer.counted import counted
from serve_deployments.metrics.answers.agreement import AnswerAgreement
from serve_deployments.metrics.answers.number_parts import WHOLLY_OFF
from serve_deployments.metrics.metric_table import METRICS

SHOWN = ("answers_same", "answers_cosine_min", "answers_relative_error_max", "answers_edit_similarity", "quality")
"""Metrics of answers that a recommendation shows whatever the objective is, as far as the answers have them."""

_LIMITS = (
    "answers_cosine_min",
    "answers_edit_similarity",
    "answers_relative_error_max",
    "answers_same",
)
"""Metrics of which a limit is suggested: the first that tells the answers from the default's own."""


def shown_of(*figures: Mapping[str, float]) -> tuple[str, ...]:
    """Return the metrics of answers to show beside others: those of `SHOWN` that any of these trials has."""
    return tuple(name for name in SHOWN if any(name in each for each in figures))


def differ_briefly(found: AnswerAgreement | None) -> str | None:
    """Return a few words if a configuration answers otherwise than the default; else None."""
    if found is None or not found.differs:
        return None
    return f"answers differ from the default's{_how_far(found.figures)}"


def marked(who: str, found: AnswerAgreement | None) -> str:
    """Return a configuration's name with a mark behind it if it answers otherwise than the default."""
    differ = differ_briefly(found)
    return who if differ is None else f"{who} ({differ})"


def warning(found: AnswerAgreement | None, who: str) -> str | None:
    """Return a warning if a configuration answers otherwise than the default; None if rounding explains it.

    Args:
        found: the agreement of its answers with the default's.
        who: the configuration, as the beginning of a sentence.
    """
    if found is None or not found.differs:
        return None
    limit = suggested_limit(found)
    remedy = "" if limit is None else f", or set a limit that leaves it out, such as `limits: {{{limit}}}`"
    beyond = "rounding explains" if _repeats(found) else "the default's own from one another"
    return (
        f"{who} answers otherwise than the default, by more than {beyond}: {_in_figures(found)}; "
        f"{found.words}. Make sure that this is good enough{remedy}"
    )


def _in_figures(found: AnswerAgreement) -> str:
    """Return how far answers are off in all figures, the one that says most first: how many are the same comes last.

    Of answers of numbers alone it is left out, as hardly any are equal after any rounding.
    """
    figures, own, said = found.figures, found.itself, []
    if (error := figures.get("answers_relative_error_max", 0.0)) > 0:
        itself = "" if _repeats(found) else f" (the default's own by {own.get('answers_relative_error_max', 0.0):.2g})"
        said.append(f"numbers differ by up to {error:.2g} of their norm{itself}")
    if (cosine := figures.get("answers_cosine_min", 1.0)) < 1:
        said.append(f"with a cosine of {_below_one(cosine)} or more")
    if (similarity := figures.get("answers_edit_similarity", 1.0)) < 1:
        said.append(f"texts are alike to {similarity:.1%}")
    if _in_numbers_alone(figures):
        return f"in {counted(found.samples, 'answer')} {', '.join(said)}"
    itself = "" if _repeats(found) else f" (the default's own: {_same(own)})"
    return ", ".join([*said, f"{_same(figures)} of {found.samples} answers are the same{itself}"])


def _repeats(found: AnswerAgreement) -> bool:
    """Whether the default gave the same answers when it was asked again."""
    return found.itself.get("answers_same", 1.0) == 1


def suggested_limit(found: AnswerAgreement) -> str | None:
    """Return a limit on answers that these break and the default's own keep, `METRIC: NUMBER`; None if none does.

    It is half-way between the two, with as few decimals as lie between them.
    """
    for name in _LIMITS:
        if name not in found.figures or name not in found.itself:
            continue
        off, own = found.figures[name], found.itself[name]
        if not (own > off if METRICS[name].better == "higher" else own < off):
            continue
        low, high = sorted((off, own))
        for digits in range(1, sys.float_info.dig + 1):
            limit = round((low + high) / 2, digits)
            if low < limit < high:
                return f"{name}: {limit:.{digits}f}"
    return None


def _how_far(figures: Mapping[str, float]) -> str:
    """Return how far answers are off, in one figure: hardly any numbers are equal, so their error; else a count."""
    if not _in_numbers_alone(figures):
        return f": {_same(figures)} the same"
    return f" by up to {figures['answers_relative_error_max']:.2g} of their norm"


def _in_numbers_alone(figures: Mapping[str, float]) -> bool:
    """Whether answers differ in numbers and in nothing else that was compared."""
    return "answers_edit_similarity" not in figures and 0 < figures.get("answers_relative_error_max", 0.0) < WHOLLY_OFF


def _same(figures: Mapping[str, float]) -> str:
    return f"{figures.get('answers_same', 0.0):.0%}"


def _below_one(number: float) -> str:
    """Return a number with as many digits as tell it from 1."""
    digits = 4
    while digits < 12 and float(f"{number:.{digits}f}") == 1:
        digits += 1
    return f"{number:.{digits}f}"

"""Agreement of a configuration's answers with the reference's over a set of samples, as metrics of a trial."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from scipy.special import bdtrc

from serve_deployments.metrics.answers.content import Content, Unanswered
from serve_deployments.metrics.answers.difference import Difference, difference

_CHANCE = 0.05  # the convention


@dataclass(frozen=True)
class AnswerAgreement:
    """How the answers of a configuration agree with those of the reference.

    Args:
        samples: number of samples that were compared.
        figures: metric → its value, by the names in `METRICS`.
        itself: the same figures of the reference, asked a second time: what agreement can be expected.
        differs: whether the answers differ by more than rounding, and more than the reference's own from one another.
        words: the first difference in words; None if all are the same.
    """

    samples: int
    figures: Mapping[str, float]
    itself: Mapping[str, float] = field(default_factory=dict)
    differs: bool = False
    words: str | None = None


def differences(
    reference: Sequence[Content], answers: Sequence[Content | Unanswered], allowed: float
) -> tuple[Difference, ...]:
    """Compare answers with the reference's, sample by sample; see `difference`."""
    return tuple(difference(one, other, allowed) for one, other in zip(reference, answers, strict=True))


def figures_of(found: Sequence[Difference]) -> dict[str, float]:
    """Return the metrics of these differences; those that no answer has a value for are left out."""
    columns: dict[str, tuple[list[float], Callable[[list[float]], float]]] = {
        "answers_same": ([float(each.same) for each in found], fmean),
        "answers_cosine": ([each.cosine for each in found], fmean),
        "answers_cosine_min": ([each.cosine for each in found], min),
        "answers_relative_error": ([each.relative_error for each in found], fmean),
        "answers_relative_error_max": ([each.relative_error for each in found], max),
        "answers_edit_similarity": ([each.edit_similarity for each in found], fmean),
    }
    figures = {}
    for name, (values, statistic) in columns.items():
        if known := [value for value in values if not math.isnan(value)]:
            figures[name] = float(statistic(known))
    return figures


def agreement(
    found: Sequence[Difference], itself: Sequence[Difference], scores: Mapping[str, float] | None = None
) -> AnswerAgreement:
    """Return the agreement of a configuration with the reference.

    Args:
        found: the differences of its answers from the reference's.
        itself: the differences of the reference's second answers from its first.
        scores: further figures, such as those of a function of the user's.
    """
    first = next((number for number, each in enumerate(found, 1) if not each.same), None)
    return AnswerAgreement(
        samples=len(found),
        figures={**figures_of(found), **(scores or {})},
        itself=figures_of(itself),
        differs=_differs(found, itself),
        words=None if first is None else f"sample {first}: {found[first - 1].words}",
    )


def _differs(found: Sequence[Difference], itself: Sequence[Difference]) -> bool:
    """Whether answers differ more than the reference's own do.

    If the reference repeats itself exactly, one difference is enough. Otherwise, as where a model samples its answers,
    a sign test at the 5 % level decides (Dixon & Mood 1946): of the samples whose answers are farther off or less far
    off than the reference's own second answer, half are farther off by chance.
    """
    if all(each.same for each in itself):
        return not all(each.same for each in found)
    farther = sum(one.distance > own.distance for one, own in zip(found, itself, strict=True))
    nearer = sum(one.distance < own.distance for one, own in zip(found, itself, strict=True))
    if not farther:
        return False
    return bool(bdtrc(farther - 1, farther + nearer, 0.5) < _CHANCE)

"""Agreement of a configuration's answers with the reference's over a set of samples, as metrics of a trial."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from serve_deployments.metrics.answers.chance import Triple, chance_of
from serve_deployments.metrics.answers.content import Content, Unanswered
from serve_deployments.metrics.answers.difference import Difference, difference
from serve_deployments.metrics.answers.usual_norms import usual_norms

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
        chance: probability that answers differ as much if they are given as the reference's own; None where unknown.
    """

    samples: int
    figures: Mapping[str, float]
    itself: Mapping[str, float] = field(default_factory=dict)
    differs: bool = False
    words: str | None = None
    chance: float | None = None


def agreement(
    reference: Sequence[Content],
    again: Sequence[Content | Unanswered],
    answers: Sequence[Content | Unanswered],
    allowed: float,
    scores: Mapping[str, float] | None = None,
) -> AnswerAgreement:
    """Return the agreement of a configuration with the reference.

    Args:
        reference: the reference's answers.
        again: its answers when it was asked a second time; those that failed are no yardstick.
        answers: the configuration's answers.
        allowed: relative error that rounding explains.
        scores: further figures, such as those of a function of the user's.
    """
    usual = usual_norms(reference)
    triples = []
    for first, second, answer in zip(reference, again, answers, strict=True):
        both = not isinstance(second, Unanswered) and not isinstance(answer, Unanswered)
        triples.append(
            Triple(
                found=difference(first, answer, allowed, usual),
                own=difference(first, second, allowed, usual),
                second=difference(second, answer, allowed, usual) if both else None,
            )
        )
    found, own = [each.found for each in triples], [each.own for each in triples]
    first_off = next((number for number, each in enumerate(found, 1) if not each.same), None)
    chance = chance_of(triples)
    return AnswerAgreement(
        samples=len(found),
        figures={**figures_of(found), **(scores or {})},
        itself=figures_of([each for each in own if each.answered] or own),
        differs=chance < _CHANCE,
        words=None if first_off is None else f"sample {first_off}: {found[first_off - 1].words}",
        chance=chance,
    )


def over_rounds(found: Sequence[AnswerAgreement]) -> AnswerAgreement | None:
    """Return the agreement of a configuration that was asked more than once; None if it never was.

    It is that of the round in which its answers differ with the smallest probability by chance, which counts as often
    as there are rounds (Bonferroni): the more often a model that samples its answers is asked, the farther off is one
    of its rounds. If none differs, it is that of the last.
    """
    if not found:
        return None
    chances = [(0.0 if each.differs else 1.0) if each.chance is None else each.chance for each in found]
    chance = min(1.0, len(found) * min(chances))
    if chance >= _CHANCE:
        return replace(found[-1], differs=False, chance=chance)
    return replace(found[chances.index(min(chances))], differs=True, chance=chance)


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

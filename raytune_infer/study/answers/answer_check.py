"""Comparison of each trial's answers with the default's, before its load test."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from raytune_infer.spec.quality_spec import Score
from raytune_infer.store.reference_answers import ReferenceAnswers
from serve_deployments.backend import Backend, CouldNotRun, Running
from serve_deployments.load.asking import AskingBounds
from serve_deployments.metrics.answers.agreement import AnswerAgreement, agreement
from serve_deployments.metrics.answers.content import Content, Unanswered, size_bytes
from serve_deployments.metrics.answers.rounding import allowed_error
from serve_deployments.metrics.metric_table import ANSWER_METRICS
from serve_deployments.settings import Settings

ASKING_PART = 0.25
"""Part of `load.total_max_s` after which the reference is asked no further sample: the part that the probe of a load
test may take too. A slow service is compared on fewer samples."""

MOST_BYTES = 64 * 2**20
"""Size of the reference's answers after which it is asked no further sample. Our choice: they are kept in memory and in
the run's folder, twice; 32 answers of a megabyte each fit."""


_log = logging.getLogger(__name__)


class NoReference(RuntimeError):
    """There is nothing to compare answers with; the message says why."""


class AskSamples(Protocol):
    """Function that asks a running replica payloads, each once."""

    @property
    def samples(self) -> Sequence[Any]:
        """The samples whose answers are compared, in a fixed order."""
        ...

    def __call__(
        self, running: Running, settings: Settings, payloads: Sequence[Any], bounds: AskingBounds
    ) -> Sequence[Content | Unanswered]:
        """Return the answers to the payloads in order; those that were not asked are missing at the end."""
        ...


def _picked(ask: AskSamples, numbers: Sequence[int]) -> list[Any]:
    """Return the samples with these numbers."""
    return [ask.samples[number] for number in numbers]


@dataclass(frozen=True)
class AnswerCheck:
    """Compares the answers of a replica with the reference's.

    Args:
        ask: asks a replica.
        reference: the reference's answers.
        end_s: seconds after which no answer is waited for.
        at_most: metric of answers → largest value allowed.
        at_least: metric of answers → smallest value allowed.
        score: a function of the user's that scores answers; None without one.
    """

    ask: AskSamples
    reference: ReferenceAnswers
    end_s: float
    at_most: Mapping[str, float]
    at_least: Mapping[str, float]
    score: Score | None = None

    def __call__(self, running: Running, settings: Settings) -> AnswerAgreement:
        """Ask a replica that runs under `settings`, and compare its answers with the reference's."""
        numbers = self.reference.numbers
        answers = list(self.ask(running, settings, _picked(self.ask, numbers), AskingBounds(end_s=self.end_s)))
        answers += [Unanswered("it was not asked")] * (len(numbers) - len(answers))
        return self._compared(self.reference, answers)

    def itself(self) -> AnswerAgreement:
        """Return the agreement of the reference's second answers with its first, where it answered twice."""
        repeated = self.reference.repeated
        return self._compared(repeated, repeated.again)

    def _compared(self, reference: ReferenceAnswers, answers: Sequence[Content | Unanswered]) -> AnswerAgreement:
        allowed = allowed_error(reference.precision)
        scores = {}
        if self.score is not None:
            scores["quality"] = self.score(_picked(self.ask, reference.numbers), answers, reference.answers)
        return agreement(reference.answers, reference.again, answers, allowed, scores)

    def broken(self, found: AnswerAgreement) -> str | None:
        """Return the limits that answers break, in words; None if they break none."""
        figures = found.figures
        said = [
            f"{name} is {figures[name]:.4g}, the limit {limit:g}" if name in figures else f"{name} has no value"
            for bounds, sign in ((self.at_most, 1), (self.at_least, -1))
            for name, limit in bounds.items()
            if not sign * figures.get(name, sign * float("inf")) <= sign * limit
        ]
        if not said:
            return None
        return "; ".join([", ".join(said), *([found.words] if found.words else [])])


def bounds_on_answers(bounds: Mapping[str, float]) -> dict[str, float]:
    """Return the bounds that are on metrics of answers."""
    return {name: bound for name, bound in bounds.items() if name in ANSWER_METRICS}


def take_reference(
    ask: AskSamples, backend: Backend, settings: Settings, config: Mapping[str, Any], total_max_s: float
) -> ReferenceAnswers:
    """Run the reference configuration and ask it every sample twice, within bounds of time and size.

    Args:
        ask: asks a replica.
        backend: runs the replica; one that keeps replicas has this one ready for the trials.
        settings: settings of the reference configuration.
        config: the configuration.
        total_max_s: longest time of a load test, of which asking may take a part.

    Raises:
        NoReference: the configuration could not run, or answers no sample.
    """
    everything = range(len(ask.samples))
    first_bounds = AskingBounds(begin_s=ASKING_PART * total_max_s, end_s=total_max_s, most_bytes=MOST_BYTES)
    try:
        with backend.running(settings, "reference") as replica:
            first = ask(replica, settings, _picked(ask, everything), first_bounds)
            numbers = tuple(n for n, each in zip(everything, first, strict=False) if not isinstance(each, Unanswered))
            if not numbers:
                raise NoReference(f"it answered none of {len(first)} samples, the first with {_why(first)}")
            again = list(ask(replica, settings, _picked(ask, numbers), AskingBounds(end_s=total_max_s)))
    except NoReference:
        raise
    except Exception as error:
        if not isinstance(error, CouldNotRun):  # as in a trial, where what nobody foresaw does not end the search
            _log.exception("asking the reference failed")
        raise NoReference(f"{type(error).__name__}: {error}") from error
    again += [Unanswered("it was not asked")] * (len(numbers) - len(again))
    return ReferenceAnswers(
        config=dict(config),
        precision=settings.precision,
        numbers=numbers,
        answers=tuple(first[number] for number in numbers),
        again=tuple(again),
        left_out=_left_out(len(everything), first, first_bounds.begin_s),
    )


def _left_out(wanted: int, first: Sequence[Content | Unanswered], begin_s: float) -> str | None:
    """Return why fewer samples are compared than were to be; None if all are."""
    said = []
    if failed := sum(isinstance(each, Unanswered) for each in first):
        said.append(f"it did not answer {failed} of {len(first)}, the first with {_why(first)}")
    if len(first) < wanted:
        size = sum(size_bytes(each) for each in first if not isinstance(each, Unanswered))
        large = f"its answers to {len(first)} are {size / 2**20:.0f} MiB, the most that is kept"
        slow = f"after {len(first)} it had been asked for {begin_s:g} s, {ASKING_PART:.0%} of load.total_max_s"
        said.append(large if size >= MOST_BYTES else slow)
    return ", and ".join(said) or None


def _why(answers: Sequence[Content | Unanswered]) -> str:
    return next((each.why for each in answers if isinstance(each, Unanswered)), "no answer in time")

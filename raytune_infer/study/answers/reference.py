"""The reference of a study: asked before the first trial, or read from the run's folder of a study that is resumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from raytune_infer.counted import counted
from raytune_infer.errors import RunError
from raytune_infer.spec.quality_spec import ScoreError
from raytune_infer.spec.service import Service
from raytune_infer.store import reference_answers
from raytune_infer.store.reference_answers import ReferenceAnswers
from raytune_infer.study.answers.answer_check import (
    AnswerCheck,
    AskSamples,
    NoReference,
    bounds_on_answers,
    take_reference,
)
from raytune_infer.study.progress import Progress
from raytune_infer.study.space import ServiceSpace
from raytune_infer.study.trials.trial import TrialRuntime
from searchers.objective import Objective
from serve_deployments.metrics.answers.agreement import AnswerAgreement
from serve_deployments.metrics.answers.content import Unanswered
from serve_deployments.metrics.metric_table import ANSWER_METRICS


def with_answer_check(
    runtime: TrialRuntime, service: Service, space: ServiceSpace, folder: Path, progress: Progress
) -> TrialRuntime:
    """Return the runtime with a check of every trial's answers; unchanged if answers are not compared.

    Args:
        runtime: runs and asks replicas.
        service: the service, with its score.
        space: its configurations and the objective.
        folder: the run's folder, which keeps the reference's answers.
        progress: notified of the reference.

    Raises:
        RunError: the objective needs metrics of answers, and they have no value, or the reference itself breaks a
            limit on them; or a function that scores answers fails; or another default was the reference before.
    """
    objective = space.problem.objective
    needed = sorted({*objective.goal.names, *objective.limited}.intersection(ANSWER_METRICS))
    if space.resolver.emulated:
        # Devices are emulated, and so are answers.
        if needed:
            raise RunError(f"{', '.join(needed)} cannot be measured: the model is emulated, and so are its answers")
        return runtime
    if runtime.ask is None:
        return runtime
    try:
        reference = _reference(runtime.ask, runtime, service, space, folder, progress)
    except NoReference as error:
        why = f"answers cannot be compared with the default's: {error}"
        if needed:
            raise RunError(f"{why}; {', '.join(needed)} need them") from None
        progress.note(why)
        return runtime
    check = AnswerCheck(
        runtime.ask, reference, service.plan.total_max_s, bounds_on_answers(objective.at_most),
        bounds_on_answers(objective.at_least), service.score,
    )  # fmt: skip
    try:
        itself = check.itself()
    except ScoreError as error:
        raise RunError(str(error)) from None
    _refuse_hopeless(itself, objective, check, needed)
    for note in _notes(reference, itself, runtime.ask, space):
        progress.note(note)
    return replace(runtime, check=check)


def _reference(
    ask: AskSamples, runtime: TrialRuntime, service: Service, space: ServiceSpace, folder: Path, progress: Progress
) -> ReferenceAnswers:
    """Return the answers in the run's folder or, if there are none, those that the default gives now."""
    position = space.position(service.spec.default_config) or 0  # without the default, the first that fits
    config = space.problem.space[position]
    kept = reference_answers.read(folder)
    if kept is not None and dict(kept.config) != dict(config):
        before, now = (" ".join(f"{name}={value}" for name, value in each.items()) for each in (kept.config, config))
        raise RunError(
            f"the answers of this run were compared with those of its default, {before}; the default is {now} now. Put "
            "it back, or begin a new run with another --out"
        )
    if kept is not None:
        return kept
    settings = space.resolver.settings(config)
    reference = take_reference(ask, runtime.backend, settings, config, service.plan.total_max_s)
    try:
        reference_answers.write(folder, reference)
    except OSError as error:
        progress.note(f"the default's answers cannot be kept, so it is asked again if the run is resumed: {error}")
    return reference


def _refuse_hopeless(itself: AnswerAgreement, objective: Objective, check: AnswerCheck, needed: Sequence[str]) -> None:
    """Refuse an objective whose metrics the answers do not have, and limits that the reference itself breaks."""
    if lacking := [name for name in needed if name not in itself.figures]:
        there = ", ".join(name for name in ANSWER_METRICS if name in itself.figures)
        raise RunError(f"the answers have no {', '.join(lacking)}; they have {there}")
    own = replace(check, at_least={name: bound for name, bound in check.at_least.items() if name != "quality"})
    if (why := own.broken(itself)) is not None:
        raise RunError(
            f"asked twice, the default itself does not keep the limits on answers: {why}; it does not repeat its "
            "answers, so loosen the limits, or make it deterministic (a fixed seed, no sampling)"
        )


def _notes(reference: ReferenceAnswers, itself: AnswerAgreement, ask: AskSamples, space: ServiceSpace) -> list[str]:
    count, wanted = len(reference.numbers), len(ask.samples)
    notes = []
    if count < wanted:
        why = "" if reference.left_out is None else f", as for the default {reference.left_out}"
        notes.append(f"answers are compared on {count} of {counted(wanted, 'sample')}{why}")
    if lost := [each for each in reference.again if isinstance(each, Unanswered)]:
        notes.append(
            f"asked a second time, the default did not answer {len(lost)} of {counted(count, 'sample')}, the first "
            f"with {lost[0].why}; whether it repeats its answers is judged by the others"
        )
    if itself.figures["answers_same"] < 1:
        notes.append(
            f"asked twice, the default does not repeat its answers ({itself.words}; "
            f"{itself.figures['answers_same']:.0%} are the same); other configurations are judged by that"
        )
    return notes

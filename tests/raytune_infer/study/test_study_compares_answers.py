"""Whole studies whose fast configuration answers wrongly: a limit leaves it out, and without one there is a warning."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from raytune_infer.errors import RunError, SpecError
from raytune_infer.report.export.report_files import write_files
from raytune_infer.report.renderers.console_view import render
from raytune_infer.report.study_report import result_view
from raytune_infer.store.reference_answers import FILE, ReferenceAnswers
from raytune_infer.study.answers.answer_check import MOST_BYTES, NoReference, take_reference
from serve_deployments.backend import OutOfMemory
from serve_deployments.fakes.fake_backend import FakeBackend, VirtualAsk
from serve_deployments.settings import Settings
from tests.raytune_infer.study.stop_after import Notes, StopAfter
from tests.raytune_infer.study.whole_studies import Machine, measurement, study, without_ray

SPEC = """\
name: answering
model: {build: "tests.raytune_infer.study.test_study_compares_answers:build"}
samples: [one, two, three, four]
knobs: {precision: [float32, bfloat16], max_batch_size: [1, 4]}
objective: {maximize: rps}
budget: {trials: 4, compare_s: 1000}
"""
SAMPLES = ("one", "two", "three", "four")


def build(precision):
    raise AssertionError("the fake backend answers for it")


def halves(answer, reference):
    """A score of one's own: 0.5 for numbers that are off by more than a thousandth."""
    return 1.0 if abs(answer["score"] - reference["score"]) < 1e-3 else 0.5


def fails(answer):
    raise KeyError("score")


def ends(answer):
    raise SystemExit(3)


class Answering(Machine):
    """bfloat16 is thrice as fast, and its scores are off by 1 %; the label stays.

    Args:
        options: those of `Machine`.
        moody: whether no two answers are alike.
    """

    def __init__(self, *, moody: bool = False, **options) -> None:
        super().__init__(samples=SAMPLES, **options)
        self.requests: list[str] = []
        self.moody = moody
        refuses = self.backend.refuses
        self.backend = FakeBackend(lambda settings, batch: 0.01, refuses, answers=self.answer)

    def answer(self, settings, payload):
        self.requests.append(payload)
        drift = 0.001 * len(self.requests) if self.moody else 0.0
        return {"label": payload, "score": (0.99 if settings.precision == "bfloat16" else 1.0) + drift}

    def measure(self, running, settings, *, to_beat_rps=None, number=0):
        super().measure(running, settings, to_beat_rps=to_beat_rps, number=number)
        return measurement((300.0 if settings.precision == "bfloat16" else 100.0) * settings.max_batch_size**0.1)


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    return without_ray(monkeypatch)


def run(path: Path, machine: Answering, more: str = "", **options):
    return study(path / "run", machine, SPEC + more, searcher="random").run(**options)


def shown(result) -> str:
    """What is printed at the end, on one line."""
    out = io.StringIO()
    render(result_view(result, {}), out)
    return " ".join(out.getvalue().split())


def loaded(machine: Answering) -> set[str]:
    return {settings.precision for _, settings, _ in machine.asked}


@pytest.mark.parametrize(
    "limit",
    [
        "limits: {answers_same: 0.9}\n",
        "limits: {answers_relative_error_max: 0.001}\n",
        "limits: {quality: 0.98}\nquality: tests.raytune_infer.study.test_study_compares_answers:halves\n",
    ],
)
def test_under_a_limit_what_answers_wrongly_is_neither_loaded_nor_recommended(tmp_path, limit):
    machine = Answering()
    result = run(tmp_path, machine, limit)
    assert result.best.config["precision"] == "float32" and loaded(machine) == {"float32"}
    [wrong, _] = [t for t in result.trials if t.config["precision"] == "bfloat16"]
    assert wrong.value is None and wrong.outcome.reason.startswith("AnswersDiffer: ")
    assert wrong.outcome.reason.endswith("; sample 1: score: 0.99 instead of 1")
    assert wrong.metrics["answers_same"] == 0.0 and "rps" not in wrong.metrics
    assert "answers otherwise" not in shown(result)


def test_without_a_limit_it_is_recommended_with_its_figures_and_a_warning(tmp_path):
    result = run(tmp_path, Answering())
    assert result.best.config["precision"] == "bfloat16"
    said = shown(result)
    assert "the recommended configuration answers otherwise than the default, by more than rounding explains" in said
    assert "explains: numbers differ by up to 0.01 of their norm" in said and "0% of 4 answers are the same; " in said
    assert "answers_same" in said and "answers_relative_error_max" in said
    told = json.loads(write_files(result, "")["recommendation"].read_text())
    assert told["best"]["answers"]["differs"] is True and told["best"]["metrics"]["answers_same"] == 0.0
    assert told["default"]["answers"]["differs"] is False and told["default"]["metrics"]["answers_same"] == 1.0


def test_the_default_is_asked_before_the_first_trial_and_not_again_when_resumed(tmp_path):
    machine = Answering()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, machine, progress=StopAfter(1))
    assert machine.requests == list(SAMPLES) * 3  # twice the default, then the trial
    later = Answering()
    result = run(tmp_path, later, resume=True)
    assert len(later.requests) == len(SAMPLES) * (len(result.trials) - 1)
    assert (tmp_path / "run" / FILE).exists()


def test_a_run_is_not_resumed_under_another_default(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Answering(), progress=StopAfter(1))
    with pytest.raises(
        RunError, match=r"compared with .*, precision=float32.*is precision=bfloat16 .* now\. Put it back"
    ):
        run(tmp_path, Answering(), "default: {precision: bfloat16, max_batch_size: 1}\n", resume=True)


def test_a_default_that_does_not_repeat_itself_is_the_yardstick(tmp_path):
    notes = Notes()
    result = run(tmp_path, Answering(moody=True), progress=notes)
    [note] = [note for note in notes.told if note.startswith("asked twice, the default does not repeat its answers (")]
    assert note.endswith("; 0% are the same); other configurations are judged by that") and "sample" in note
    assert result.best.trials[-1].outcome.answers.itself["answers_same"] == 0.0


def test_a_default_that_fails_once_is_told_of_and_still_repeats_its_answers(tmp_path):
    class Stumbles(Answering):
        def answer(self, settings, payload):
            if len(self.requests) == 5:  # the second sample, when it is asked again
                self.requests.append(payload)
                raise ValueError("out of luck")
            return super().answer(settings, payload)

    notes = Notes()
    result = run(tmp_path, Stumbles(), "limits: {answers_same: 0.9}\n", progress=notes)
    [told] = [note for note in notes.told if "a second time" in note]
    assert "did not answer 1 of 4 samples, the first with ValueError: out of luck" in told
    assert not any("repeats" in note and "%" in note for note in notes.told)
    assert result.best.config["precision"] == "float32"


@pytest.mark.parametrize(
    ("machine", "more", "why"),
    [
        (Answering(moody=True), "limits: {answers_same: 0.9}\n", "the default itself does not keep the limits.*is 0,"),
        (Answering(), "limits: {answers_cosine_min: 0.9}\n", "have no answers_cosine_min; they have answers_same"),
        (Answering(refuses=lambda settings: OutOfMemory("2 GiB")), "limits: {answers_same: 0.9}\n", "OutOfMemory: 2 G"),
        (Answering(), "quality: tests.raytune_infer.study.test_study_compares_answers:fails\n", "KeyError: 'score'"),
        (Answering(), "quality: tests.raytune_infer.study.test_study_compares_answers:ends\n", "SystemExit: 3"),
    ],
)  # fmt: skip
def test_limits_that_cannot_be_kept_are_refused_before_the_first_trial(tmp_path, machine, more, why):
    with pytest.raises(RunError, match=why):
        run(tmp_path, machine, more)
    assert machine.asked == []


def test_a_default_that_cannot_run_leaves_answers_uncompared_and_says_so(tmp_path):
    def refuses(settings):
        return OutOfMemory("2 GiB") if settings.max_batch_size == 1 and settings.precision == "float32" else None

    notes = Notes()
    result = run(tmp_path, Answering(refuses=refuses), progress=notes)
    assert any("answers cannot be compared with the default's: OutOfMemory: 2 GiB" in note for note in notes.told)
    assert result.best.trials[-1].outcome.answers is None


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("limits: {quality: 0.9}\n", "limits.quality: needs a function that scores an answer"),
        ("limits: {answers_same: 0.9}\nquality: {samples: 0}\n", "answers, which are not compared with"),
        ("quality: json:dumps\n", "quality: json:dumps takes obj, .* and needs `answer`"),
        ("quality: json:nothing\n", "quality: 'json:nothing': json has no 'nothing'"),
        ("quality: {samples: -1}\n", "quality.samples: must be 0 or more"),
    ],
)
def test_what_cannot_be_scored_or_limited_is_refused_with_its_line(tmp_path, more, why):
    with pytest.raises(SpecError, match=f"known.yaml:[0-9]+: .*{why}"):
        run(tmp_path, Answering(), more)


# --- the reference's answers are taken within bounds, and why fewer samples are compared is known


def taken(samples: Sequence[Any], answer: Callable[[Any], Any], total_max_s: float = 1000.0) -> ReferenceAnswers:
    """Of a replica that takes a second for a request."""
    backend = FakeBackend(lambda settings, batch: 1.0, answers=lambda settings, payload: answer(payload))
    settings = Settings(max_batch_size=1, precision="float32")
    return take_reference(VirtualAsk(tuple(samples)), backend, settings, {"max_batch_size": 1}, total_max_s)


def fails_on(*refused: str) -> Callable[[str], str]:
    def answer(payload: str) -> str:
        if payload in refused:
            raise ValueError(f"no {payload}")
        return payload

    return answer


def test_where_all_are_compared_nothing_is_left_out():
    found = taken("abcd", str)
    assert (found.numbers, found.answers, found.left_out) == ((0, 1, 2, 3), tuple("abcd"), None)


@pytest.mark.parametrize(
    ("samples", "answer", "total_max_s", "numbers", "why"),
    [
        ("abcd", fails_on("b", "c"), 1000.0, (0, 3), "it did not answer 2 of 4, the first with ValueError: no b"),
        ("abcd", str, 8.0, (0, 1), "after 2 it had been asked for 2 s, 25% of load.total_max_s"),
        ("abcd", lambda payload: bytes(MOST_BYTES), 1000.0, (0,), "its answers to 1 are 64 MiB, the most that is kept"),
        ("abcd", fails_on("a"), 8.0, (1,),
         "it did not answer 1 of 2, the first with ValueError: no a, and after 2 it had been asked for 2 s, 25% of "
         "load.total_max_s"),
    ],
)  # fmt: skip
def test_why_fewer_are_compared_is_the_cause_and_no_other(samples, answer, total_max_s, numbers, why):
    found = taken(samples, answer, total_max_s)
    assert (found.numbers, found.left_out) == (numbers, why)


def test_a_reference_that_answers_nothing_is_none():
    with pytest.raises(NoReference, match="it answered none of 2 samples, the first with ValueError: no a"):
        taken("ab", fails_on("a", "b"))

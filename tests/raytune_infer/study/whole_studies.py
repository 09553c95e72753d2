"""Whole studies in this process: a stand-in for Ray Tune, one node, replicas of known rates, and a clock that is ours.

Everything between `Study` and the database is the real thing, so what a study spends, keeps and goes on with is seen
without Ray and without waiting.
"""

import datetime as dt
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray import tune

from cluster.inventory import Inventory, Node
from raytune_infer import Study
from raytune_infer.spec.document import Document
from raytune_infer.spec.service_spec import parse_spec
from raytune_infer.study.trials.trial import TrialRuntime
from serve_deployments.backend import CouldNotRun
from serve_deployments.fakes.fake_backend import FakeBackend, VirtualAsk
from serve_deployments.metrics.measurement import Measurement
from serve_deployments.resources.usage import Usage
from serve_deployments.settings import Settings
from tests.levels import a_level

SPEC = """\
name: known
model: {build: "cluster.emulated:model", args: {profile: bert-base}}
samples: [x]
knobs: {cpu_cores: [1, 2, 4], max_batch_size: [1, 4, 16, 64]}
objective: {maximize: rps / usd_per_hour}
budget: {trials: 5, compare_s: 1000}
"""
TRIAL_S = 10.0
"""What a measurement takes by our clock."""


def rate_rps(settings: Settings) -> float:
    """One core and batches of 64 are the best by price: 320 requests/s."""
    return 40.0 * settings.cpu_cores**0.5 * settings.max_batch_size**0.5


def measurement(rps: float, others_share: float = 0.0, **more: Any) -> Measurement:
    """A level whose numbers are as given: 20 ms at the median, 30 ms at p99."""
    level = a_level(
        clients=4, latency_s=[0.02] * 90 + [0.03] * 10, achieved_rps=rps, duration_s=TRIAL_S,
        completed=round(rps * TRIAL_S), client_lag_ms=0.1, warmup_s=0.0, started_at=0.0, ended_at=TRIAL_S,
        usage=Usage(seconds=TRIAL_S, others_s=others_share * TRIAL_S, cores_s=TRIAL_S) if others_share else None,
    )  # fmt: skip
    ends = {"rate_low_rps": 0.99 * rps, "rate_high_rps": 1.01 * rps}
    rest: dict[str, Any] = {"method": "peak_rate", "reported": 0, "found": True, "client_limited": False}
    return Measurement(levels=(level,), seconds=TRIAL_S, reason="it is known", **{**rest, **ends, **more})


class Clock:
    """The time of day, and the time since some moment: they go on only when told."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def now(self) -> dt.datetime:
        # Each look is a little later, as writes to a database are.
        self.now_s += 1e-5
        return dt.datetime(2026, 1, 1) + dt.timedelta(seconds=self.now_s)

    def monotonic(self) -> float:
        return 1000.0 + self.now_s


class Machine:
    """Where trials run: what they are asked for is kept.

    Args:
        refuses: settings → why they cannot run.
        killed_in: the measurement (1, 2, …) in which the driver is killed; 0 for never.
        disturbed_in: the measurement in which other processes have 40 % of the replica's cores; 0 for none.
        samples: the samples whose answers are compared; the model has the same answer for all.
    """

    def __init__(
        self,
        refuses: Callable[[Settings], CouldNotRun | None] = lambda settings: None,
        killed_in: int = 0,
        samples: Sequence[Any] = (),
        disturbed_in: int = 0,
    ) -> None:
        self.backend = FakeBackend(lambda settings, batch: 0.01, refuses)
        self.clock = Clock()
        self.killed_in, self.disturbed_in = killed_in, disturbed_in
        self.ask = VirtualAsk(samples) if samples else None
        self.asked: list[tuple[int, Settings, float | None]] = []
        """Of each measurement its round, settings and rate to beat."""

    def measure(
        self, running: Any, settings: Settings, *, to_beat_rps: float | None = None, number: int = 0
    ) -> Measurement:
        self.asked.append((number, settings, to_beat_rps))
        if len(self.asked) == self.killed_in:
            raise KeyboardInterrupt
        self.clock.now_s += TRIAL_S
        share = 0.4 if len(self.asked) == self.disturbed_in else 0.0
        return measurement((1 - share) * rate_rps(settings), others_share=share)

    @contextmanager
    def serving(self, study: Any) -> Iterator[TrialRuntime]:
        yield TrialRuntime(self.backend, self.measure, lambda number: partial(self.measure, number=number), self.ask)


class ProcessDied(BaseException):
    """The end of a trial's own process."""


class TuneInProcess:
    """Ray Tune as far as a search uses it: trials one after another, up to so many begun before the oldest is run.

    Args:
        deaths: number of a trial (0, 1, …) → in how many of its attempts its process dies.
        late_deaths: trials whose process dies once it has reported.
    """

    TuneConfig, RunConfig, FailureConfig = tune.TuneConfig, tune.RunConfig, tune.FailureConfig
    PlacementGroupFactory = tune.PlacementGroupFactory

    def __init__(self, deaths: dict[int, int] | None = None, late_deaths: frozenset[int] = frozenset()) -> None:
        self.deaths, self.late_deaths = deaths or {}, late_deaths
        self.begun: list[dict[str, Any]] = []
        self.most_at_once = 0
        self.run_config: Any = None
        self.sessions: list[dict[str, Any]] = []
        """Of each study the cluster that it asked for."""

    def with_parameters(self, trainable: Callable, **given: Any) -> Callable:
        return partial(trainable, **given)

    def with_resources(self, trainable: Callable, resources: Any) -> Callable:
        return trainable

    def get_context(self) -> Any:
        return SimpleNamespace(get_trial_id=lambda: self.trial.trial_id)

    def report(self, result: dict[str, Any]) -> None:
        self.result: dict[str, Any] | None = result

    def Tuner(self, trainable: Callable, *, tune_config: Any, run_config: Any) -> Any:  # noqa: N802, Tune's own name
        self.run_config = run_config
        return SimpleNamespace(fit=lambda: self._fit(trainable, tune_config))

    def _fit(self, trainable: Callable, config: Any) -> None:
        searcher, [recorder] = config.search_alg, self.run_config.callbacks
        running: deque[Any] = deque()
        for number in range(config.num_samples):
            trial_id = f"trial-{number}"
            suggested = searcher.suggest(trial_id)
            if suggested == searcher.FINISHED:
                break
            self.begun.append(suggested)
            running.append(
                SimpleNamespace(
                    trial_id=trial_id,
                    config=suggested,
                    number=number,
                    run_metadata=SimpleNamespace(last_result={}, metric_analysis={}, metric_n_steps={}),
                )  # fmt: skip
            )
            recorder.on_trial_start(0, [], running[-1])
            self.most_at_once = max(self.most_at_once, len(running))
            if len(running) == config.max_concurrent_trials:
                self._run(trainable, running.popleft(), searcher, recorder)
        for trial in running:
            self._run(trainable, trial, searcher, recorder)

    def _run(self, trainable: Callable, trial: Any, searcher: Any, recorder: Any) -> None:
        failures = 0
        while True:
            self.trial, self.result = trial, None
            try:
                if failures < self.deaths.get(trial.number, 0):
                    raise ProcessDied
                trainable(trial.config)
                recorder.on_trial_result(0, [], trial, self.result)
                if trial.number in self.late_deaths:
                    raise ProcessDied
            except ProcessDied:
                failures += 1
                if failures <= self.run_config.failure_config.max_failures and self.result is None:
                    recorder.on_trial_recover(0, [], trial)
                    recorder.on_trial_start(0, [], trial)
                    continue
                recorder.on_trial_error(0, [], trial)
                searcher.on_trial_complete(trial.trial_id, error=True)
                return
            searcher.on_trial_complete(trial.trial_id, self.result)
            recorder.on_trial_complete(0, [], trial)
            return


NODE = Node(node_id="a", hostname="a", cpu_cores=4, memory_gib=8.0)


def without_ray(monkeypatch: Any, instead: TuneInProcess | None = None, *nodes: Node) -> TuneInProcess:
    """From now on studies run in this process; the stand-in for Tune says what it was asked for."""
    instead = instead or TuneInProcess()

    def ray_session(**asked: Any) -> AbstractContextManager[None]:
        instead.sessions.append(asked)
        return nullcontext()

    monkeypatch.setattr("raytune_infer.study.study.ray_session", ray_session)
    monkeypatch.setattr("raytune_infer.study.study.ray_inventory.from_ray", lambda: Inventory(nodes or (NODE,)))
    monkeypatch.setattr("raytune_infer.study.search.tune", instead)
    return instead


def by_our_clock(monkeypatch: Any, clock: Clock) -> None:
    """From now on what is written down, and when a search is over, goes by this clock."""
    monkeypatch.setattr("raytune_infer.store.database._now", clock.now)
    monkeypatch.setattr("raytune_infer.study.suggestion.time", clock)


def study(out: Path, machine: Machine | None = None, text: str = SPEC, **options: Any) -> Study:
    """A study of `text` as a user begins it, or goes on with it: it searches at random unless told."""
    folder = options.pop("folder", Path("."))
    spec = parse_spec(Document(text, "known.yaml"), folder=folder)
    return Study(spec, out=out, serving=(machine or Machine()).serving, **options)

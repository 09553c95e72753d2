"""What the sections of a report are made of: a run as it is stored, and the answers that follow from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from cluster.prices import PriceBook
from raytune_infer.comparing.comparison import Comparison
from raytune_infer.comparing.configuration_result import ConfigurationResult, result_of
from raytune_infer.ranking.recommendation import Recommendation, ranked_again
from raytune_infer.spec.service_spec import ServiceSpec
from raytune_infer.store.records import StudyRecord, TrialRecord
from raytune_infer.store.run_folder import RunFolder, open_run
from raytune_infer.study.result import Unfinished, best_of, comparison_of, unfinished_comparison
from searchers.objective import Objective


@dataclass(frozen=True)
class RunFacts:
    """A run as far as it has come.

    Args:
        run: its folder.
        study: its study.
        trials: the finished trials.
        spec: its service.
        comparing: how far its comparison has come if it is not over, and what counts with its rounds until then.
        unfinished: whether a trial is under way, or was when the driver ended.
        set_aside: why trials do not count → their numbers (`Database.set_aside`).
    """

    run: RunFolder
    study: StudyRecord
    trials: tuple[TrialRecord, ...]
    spec: ServiceSpec
    comparing: Unfinished = Unfinished()
    unfinished: bool = False
    set_aside: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def objective(self) -> Objective:
        """The run's goal and limits."""
        return self.spec.goal

    @property
    def searched(self) -> Sequence[TrialRecord]:
        """The trials of the search, in the order in which they began."""
        return [t for t in self.trials if t.purpose == "search"]

    @cached_property
    def comparison(self) -> Comparison:
        """The final comparison as far as it has come."""
        return comparison_of(self.trials, self.spec, self.comparing)

    @cached_property
    def best(self) -> ConfigurationResult | None:
        """The configuration to run; None if there is none."""
        return best_of(self.trials, self.comparison)

    @cached_property
    def default(self) -> ConfigurationResult | None:
        """The configuration to beat, if it was compared."""
        beaten = self.comparison.of(self.comparison.default)
        return None if beaten is None else result_of(self.comparison, beaten)

    @cached_property
    def ranking(self) -> Recommendation | None:
        """The ranking under the run's own objective; None if nothing was measured."""
        if all(not t.outcome.levels for t in self.trials):
            return None
        return replace(self.asked(self.objective, predicts=True), left=self.comparing.left)

    def asked(self, objective: Objective, book: PriceBook | None = None, *, predicts: bool = False) -> Recommendation:
        """Return the ranking under another objective, or other prices; raises UserError if a price is unknown."""
        return ranked_again(
            self.study, self.trials, self.spec, objective, book, searched=self.comparing.searched, predicts=predicts
        )


def read_facts(path: str | Path, db: str | None = None) -> RunFacts:
    """Read a run; the database is left as it is.

    Args:
        path: the run's folder.
        db: URL of the database that the run was started with; None for the one in its folder.

    Raises:
        UserError: there is no such run, or its database cannot be used.
    """
    return facts_of(open_run(path, db))


def facts_of(run: RunFolder) -> RunFacts:
    """Read a run that is open; raises UserError if its database cannot be used."""
    study, trials = run.read()
    spec = run.spec_of(study)
    comparing = unfinished_comparison(run, trials, spec)
    return RunFacts(run, study, trials, spec, comparing, run.unfinished(), run.set_aside())

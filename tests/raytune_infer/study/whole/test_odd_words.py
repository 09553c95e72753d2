"""Words of a model that no database takes as they are: a study ends as usual, and goes on."""

from dataclasses import replace

from raytune_infer.store.run_folder import open_run
from tests.raytune_infer.study.whole_studies import Machine, study, without_ray

WORDS = "ValueError: cut in the middle of \ud83d"
"""Half an emoji, as of a text that was cut by bytes."""


class Cuts(Machine):
    """One request in twenty fails with these words."""

    def measure(self, *args, **more):
        made = super().measure(*args, **more)
        [level] = made.levels
        failed = replace(level, errors=5, completed=95, error_rate=0.05, first_error=WORDS)
        return replace(made, levels=(failed,), reason=WORDS)


def test_half_of_a_character_in_an_error_ends_no_study_and_no_resumed_one(tmp_path, monkeypatch):
    without_ray(monkeypatch)
    result = study(tmp_path / "run", Cuts(), searcher="random").run(2)
    assert result.best.metrics["error_rate"] == 0.05
    again = study(tmp_path / "run", Cuts(), searcher="random").run(3, resume=True)
    _, trials = open_run(tmp_path / "run").read()
    assert len([trial for trial in trials if trial.purpose == "search"]) == 3
    assert {level.first_error for trial in trials for level in trial.outcome.levels} == {WORDS}
    assert again.best.metrics["error_rate"] == 0.05

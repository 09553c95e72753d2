"""What a search is taught: by the studies before it, by the same ones when it goes on, and by none where none may."""

import pytest

from raytune_infer.store.records import Outcome
from tests.raytune_infer.study.stop_after import Notes
from tests.raytune_infer.study.whole_studies import SPEC, study, without_ray


def test_a_study_learns_from_those_before_it_and_goes_on_with_the_same(tmp_path, monkeypatch):
    without_ray(monkeypatch)
    problems = []

    def first_ones(log, budget, searcher, **options):
        problems.append(log.space.problem)
        known = len(log.searched())
        for position in range(known, known + budget.trials):
            log.ledger.finish(log.ledger.start(position, "search"), position, Outcome({"rps": 1.0 + position}))

    monkeypatch.setattr("raytune_infer.study.search.search", first_ones)
    monkeypatch.setattr("raytune_infer.study.study.LEARNS", frozenset({"random"}))
    facts = SPEC + "facts: {parameters_million: 110}\n"
    study(tmp_path / "a", text=facts, searcher="random").run(2)
    notes = Notes(trials=1)
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "b", text=facts, searcher="random").run(2, progress=notes)
    study(tmp_path / "c", searcher="morphling").run(1, progress=(ignorant := Notes()))
    study(tmp_path / "d", searcher="random", history=False).run(1, progress=(alone := Notes()))
    study(tmp_path / "b", text=facts).run(resume=True)

    first, begun, after, without, resumed = problems
    assert first.facts == {"parameters_million": 110} and not first.sources
    [source], [again] = begun.sources, resumed.sources
    assert (source.name, source.facts) == ("known", first.facts)
    assert all({"rps", "usd_per_hour"} <= set(o.metrics) for o in source.observed)
    assert again.observed == source.observed
    assert [line for line in notes.told if "learning" in line] == [
        f"learning from 1 earlier study of 1 service: known ({len(source.observed)} trials)"
    ]
    # Who learns from nobody is given the sources all the same, and nothing is said of it.
    assert after.sources and not without.sources
    assert not any("learning" in line for line in ignorant.told + alone.told)

"""Which numbers are moved, and which row and column says what: on two configurations by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from cluster.prices import load_prices
from raytune_infer.report.chart import Quantity
from raytune_infer.report.whole.moving.sensitivity import sensitivity_view
from raytune_infer.report.whole.run_facts import RunFacts
from raytune_infer.spec.demand import price
from raytune_infer.spec.document import Document
from raytune_infer.spec.service_spec import parse_spec
from raytune_infer.store.records import Outcome, Purpose, TrialRecord
from searchers.space import Config
from tests.raytune_infer.ranking.measured_runs import SPEC
from tests.raytune_infer.ranking.ranked_trials import level, trial
from tests.raytune_infer.report.every_view import facts

BOOK = load_prices("cloud-2026")
GPU: Config = {"cpu_cores": 1, "gpu_type": "T4"}
CORES: Config = {"cpu_cores": 4, "gpu_type": "none"}
TEXT = SPEC.replace("cpu_cores: [1, 2], max_batch_size: [1, 4, 16]", "cpu_cores: [1, 4], gpu_type: [none, T4]")


def found(text: str, *, again: int = 0) -> RunFacts:
    """A T4 of 100 ± 2 requests/s, four cores of 30 ± 0.6; each measured again so many times."""
    spec = parse_spec(Document(text, "s.yaml"), folder=Path("."))
    trials: list[TrialRecord] = []
    purposes: list[Purpose] = ["search", "final", "final", "final"]
    for purpose in purposes[: 1 + again]:
        for at, (config, rps, p99_ms) in enumerate(((GPU, 100.0, 80.0), (CORES, 30.0, 50.0))):
            usd = price(config, BOOK)
            one = trial(len(trials) + 1, at, level(rps, p99_ms), usd=usd, config=config, purpose=purpose,
                        interval_rps=(0.98 * rps, 1.02 * rps), reported=0)  # fmt: skip
            metrics = {"rps": rps, "p99_ms": p99_ms}
            outcome: Outcome = replace(one.outcome, metrics=metrics)
            trials.append(replace(one, outcome=outcome, value=spec.goal.value(metrics, usd)))
    return replace(facts(), trials=tuple(trials), spec=spec)


def rows(of: RunFacts) -> dict[str, dict]:
    table = sensitivity_view(of).tables[0]
    names = [column.name for column in table.columns]
    return {str(row.cells[0]): dict(zip(names, row.cells, strict=True)) for row in table.rows}


def test_the_price_of_a_gpu_is_moved_as_that_of_a_core_is():
    """100 / (c + g) = 30 / 4 c at g = 37 c / 3."""
    told = rows(found(TEXT))["the price of a T4"]
    assert told["now"] == BOOK.gpu_usd_per_hour["T4"]
    [turned] = [cell for cell in told.values() if isinstance(cell, Quantity)]
    assert turned.value == pytest.approx(37 * BOOK.cpu_core_usd_per_hour / 3, rel=3e-4)
    assert turned.low is not None and turned.low < turned.value < turned.high


def test_a_load_is_moved_and_its_directions_are_not_swapped():
    text = TEXT.replace("maximize: rps / usd_per_hour", "maximize: rps, at_least: {rps: 50}")
    of = found(text)
    told = rows(of)["rps"]
    assert told["unit"] == "requests/s" and told["now"] == 50
    # Whatever the load is, nothing does more than the card; above what it can do nothing counts.
    assert (told["falls_to"], told["then_below"], told["sure_down_to"]) == (None, "the same", 50 / 8)
    assert told["rises_to"].value == pytest.approx(100, rel=0.011) and told["then_above"] == "nothing surely counts"
    assert told["sure_up_to"] == pytest.approx(98, rel=0.011) and told["rises_to"].high >= 102
    [said] = [note.text for note in sensitivity_view(of).notes if note.text.startswith("If the bound of rps")]
    falls, rises = said.split("If it rises")
    assert "down to 6.25 requests/s" in falls and "nothing" not in falls and "surely nothing counts" in rises


def test_that_the_rounds_say_nothing_at_another_limit_is_said_where_there_were_rounds():
    for again, said in ((0, False), (3, True)):
        notes = [note.text for note in sensitivity_view(found(TEXT, again=again)).notes]
        assert any("single levels, and known within a factor of 1.9" in note for note in notes) == said


def test_the_table_says_in_words_where_the_answer_stays_and_where_it_is_not_known():
    told = rows(found(TEXT.replace("rps / usd_per_hour", "rps")))["p99_ms"]
    assert (told["rises_to"], told["then_above"], told["sure_up_to"]) == (None, "the same", 800)
    assert told["falls_to"] == Quantity(told["falls_to"].value)  # no mark that nobody explains
    assert told["then_below"] == "nothing surely counts; what is best is not known"

"""The picture of `recommend --curve`: each line, cross and circle of it where the levels say, without looking at it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from raytune_infer.errors import UserError
from raytune_infer.report.level_figures import latency_charts
from raytune_infer.report.renderers.curve_drawing import draw_curves
from serve_deployments.resources.usage import Usage
from tests.levels import a_level
from tests.raytune_infer.ranking.ranked_trials import level, ranked, trial

PATH = Path("curves.svg")


@pytest.fixture
def drawn(monkeypatch):
    """A ranking → the figure that is drawn of it, which is not saved; `kept` has what it would have been saved as."""
    kept: list[Any] = []

    def savefig(figure, path, **options):
        kept.append((figure, path, options))

    monkeypatch.setattr(Figure, "savefig", savefig)

    def draw(found, path=PATH):
        draw_curves(latency_charts(found), path)
        return kept[-1][0]

    draw.kept = kept  # type: ignore[attr-defined]
    return draw


def lines(axis) -> list[tuple]:
    """(colour, line, marker, x, y) of all that belongs to a configuration, in the order in which it was drawn."""
    return [
        (line.get_color(), line.get_linestyle(), line.get_marker(), list(line.get_xdata()), list(line.get_ydata()))
        for line in axis.get_lines() if str(line.get_color()).startswith("C")
    ]  # fmt: skip


def legend(axis) -> list[str]:
    return [text.get_text() for text in axis.get_legend().get_texts()]


OVERLOADED = level(400, 900, achieved_rps=310.0, overloaded=True)
FOUR = (
    trial(1, 0, level(60, 12, achieved_rps=60.5)),
    trial(2, 1, level(300, 60, achieved_rps=270.0), level(100, 9, achieved_rps=98.0),
          level(200, 42, achieved_rps=190.0), OVERLOADED),
    trial(3, 2, level(120, 15, achieved_rps=118.0)),
    trial(4, 3, level(150, 21, achieved_rps=149.0)),
)  # fmt: skip
"""They count for 60.5, 190, 118 and 149 where p99 may be 50 ms."""


def test_the_best_three_over_what_they_achieved_with_a_circle_where_each_stands(drawn):
    figure = drawn(ranked(*FOUR, p99_ms=50))
    [axis] = figure.axes
    assert lines(axis) == [
        ("C0", "-", ".", [98, 190, 270], [9, 42, 60]),
        ("C0", ":", ".", [98, 190, 270], [3, 14, 20]),
        ("C0", "None", "x", [310], [900]),
        ("C0", "None", "o", [190], [42]),  # the highest that keeps the limit, not the highest
        ("C1", "-", ".", [149], [21]),
        ("C1", ":", ".", [149], [7]),
        ("C1", "None", "o", [149], [21]),
        ("C2", "-", ".", [118], [15]),
        ("C2", ":", ".", [118], [5]),
        ("C2", "None", "o", [118], [15]),
    ]
    assert legend(axis) == ["max_batch_size=2", "max_batch_size=8", "max_batch_size=4"]
    assert axis.get_legend().get_title().get_text() == "p99; p50 dotted; × overloaded; ○ its rate"
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_yscale()) == ("achieved requests/s", "latency, ms", "log")
    assert axis.get_xlim() == (0, pytest.approx(1.05 * 310))


def test_where_nothing_counts_the_most_promising_are_drawn_without_a_circle(drawn):
    found = ranked(*FOUR, p99_ms=5)
    assert not found.ranked
    figure = drawn(found)
    # A rate below the lowest that broke the limit may keep it, so the highest of these are the most promising.
    assert [r.trials for r in found.others] == [(4,), (3,), (2,), (1,)]
    assert [(colour, x) for colour, line, _, x, _ in lines(figure.axes[0]) if line == "-"] == [
        ("C0", [149]), ("C1", [118]), ("C2", [98, 190, 270])
    ]  # fmt: skip
    assert not any(marker == "o" for _, _, marker, _, _ in lines(figure.axes[0]))


@pytest.mark.parametrize(
    ("limits", "upper", "at_ms"),
    [
        ({"p99_ms": 50.0, "p50_ms": 20.0}, "p99", 50.0),
        ({"p50_ms": 20.0, "p99_ms": 50.0}, "p50", 20.0),
        ({"error_rate": 0.1, "p50_ms": 20.0, "p99_ms": 50.0}, "p50", 20.0),
        ({"usd_per_hour": 2.0}, "p99", None),
        ({}, "p99", None),
    ],
)
def test_the_first_limit_on_a_latency_is_drawn_and_its_percentile(drawn, limits, upper, at_ms):
    [axis] = drawn(ranked(trial(1, 0, level(100, 30)), **limits)).axes
    assert lines(axis)[0][4] == [{"p99": 30, "p50": 10}[upper]] and lines(axis)[-1][4] == lines(axis)[0][4]
    # p50 is drawn once, also where it is the one that is limited.
    dotted = "" if upper == "p50" else "; p50 dotted"
    assert axis.get_legend().get_title().get_text() == f"{upper}{dotted}; × overloaded; ○ its rate"
    across = [list(line.get_ydata()) for line in axis.get_lines() if line.get_color() == "black"]
    assert across == ([] if at_ms is None else [[at_ms, at_ms]])
    told = [(text.get_text(), text.xy[1]) for text in axis.texts]
    assert told == ([] if at_ms is None else [(f"limit of {upper}", at_ms)])


def test_what_the_replica_did_is_drawn_below_where_it_is_known(drawn):
    def used(share):
        return Usage(seconds=10.0, busy_s=10 * share)

    figure = drawn(
        ranked(
            trial(1, 0, level(100, 10, usage=used(0.25)), level(200, 20), level(300, 30, usage=used(0.75))),
            trial(2, 1, level(150, 10)),
            trial(3, 2, level(120, 10, usage=used(0.5), overloaded=True), level(110, 10)),
            p99_ms=50,
        )
    )
    above, below = figure.axes
    assert lines(below) == [("C0", "-", ".", [100, 300], [0.25, 0.75]), ("C2", "-", ".", [120], [0.5])]
    assert (below.get_ylabel(), below.get_ylim(), below.get_xlabel()) == (
        "model busy", (0, 1.05), "achieved requests/s"
    )  # fmt: skip
    assert below.get_xlim() == above.get_xlim() == (0, 315) and above.get_xlabel() == ""
    assert figure.get_figheight() > drawn(ranked(trial(2, 1, level(150, 10)))).get_figheight()


def test_a_configuration_is_called_by_what_sets_it_apart_and_alone_by_all(drawn):
    def called(*configs):
        found = ranked(*(trial(i, i, level(200 - i, 10), config=config) for i, config in enumerate(configs)), p99_ms=50)
        return legend(drawn(found).axes[0])

    one = {"cpu_cores": 1, "max_batch_size": 4, "precision": "int8"}
    assert called(one) == ["cpu_cores=1, max_batch_size=4, precision=int8"]
    assert called(one, {**one, "max_batch_size": 8}) == ["max_batch_size=4", "max_batch_size=8"]
    assert called(one, {**one, "max_batch_size": 8}, {**one, "cpu_cores": 2}) == [
        "cpu_cores=1, max_batch_size=4", "cpu_cores=1, max_batch_size=8", "cpu_cores=2, max_batch_size=4",
    ]  # fmt: skip
    # What sets apart only one that is not drawn is left out.
    fourth = {**one, "precision": "float32"}
    assert called(one, {**one, "max_batch_size": 8}, {**one, "max_batch_size": 16}, fourth)[0] == "max_batch_size=4"


def test_clients_are_drawn_where_the_run_had_no_arrivals_and_else_only_arrivals(drawn):
    clients = [level(90, 8, clients=1), level(160, 40, clients=4)]
    assert lines(drawn(ranked(trial(1, 0, *clients), p99_ms=50)).axes[0])[0][3] == [90, 160]
    both = ranked(trial(1, 0, *clients, level(100, 20)), p99_ms=50)
    assert [(marker, x) for _, _, marker, x, _ in lines(drawn(both).axes[0])] == [
        (".", [100]),
        (".", [100]),
        ("o", [100]),
    ]


def test_a_level_that_answered_nothing_has_no_point(drawn):
    nothing = a_level(200, values={}, achieved_rps=0.0)
    overloaded = replace(nothing, overloaded=True, requested_rps=300)
    found = ranked(trial(1, 0, level(100, 30), nothing, overloaded), p99_ms=50)
    assert [x for _, _, _, x, _ in lines(drawn(found).axes[0])] == [[100], [100], [100]]


@pytest.mark.parametrize("which", ["ranked", "others"])
def test_emulated_latencies_are_said_to_be(drawn, which):
    found = ranked(*FOUR, trial(5, 4, level(10, 90)), p99_ms=50)
    marked = tuple(replace(r, emulated=r is getattr(found, which)[-1]) for r in getattr(found, which))
    assert drawn(replace(found, **{which: marked})).axes[0].get_ylabel() == "latency (emulated), ms"


def test_the_file_is_the_same_whenever_the_figures_are(drawn, tmp_path):
    for name, form, metadata in (("a.svg", "svg", {"Date": None}), ("a.png", "png", None)):
        drawn(ranked(*FOUR, p99_ms=50), path := tmp_path / "new" / name)
        _, saved, options = drawn.kept[-1]
        assert saved == path and path.parent.is_dir()
        assert (options["format"], options["metadata"]) == (form, metadata)


def test_another_form_is_refused_before_anything_is_drawn(drawn):
    with pytest.raises(UserError, match="--curve curves.pdf: a file that ends with .svg or .png is needed"):
        drawn(ranked(*FOUR, p99_ms=50), Path("curves.pdf"))
    assert drawn.kept == []


def test_two_pictures_of_one_ranking_are_the_same_bytes(tmp_path):
    for path in (one := tmp_path / "1.svg", other := tmp_path / "2.svg"):
        draw_curves(latency_charts(ranked(*FOUR, p99_ms=50)), path)
    assert one.read_bytes() == other.read_bytes() and b"limit of p99" in one.read_bytes()


def test_a_load_that_was_measured_again_is_one_point_and_a_load_near_it_another(drawn):
    """The knee of a curve may lie between two loads that are 2 % apart."""
    again = [level(100, 90, achieved_rps=97.0), level(100, 24, achieved_rps=99.0), level(100, 20, achieved_rps=100.5)]
    [axis] = drawn(ranked(trial(1, 0, level(50, 10), *again, level(102, 49)), p99_ms=50)).axes
    _, _, _, rates, times = lines(axis)[0]
    assert rates == [50, 99, 102] and times == [10, 24, 49]

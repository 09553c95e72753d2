"""Traces: the published formats, to the number; Poisson arrivals by their distribution."""

import math
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from benchmarks.transform.traces import azure_2019, azure_2021, generated
from benchmarks.transform.traces.invocations import Arrival, BadTrace, Invocation, calls_by_function, on_models, window
from benchmarks.transform.traces.named_trace import Part, arrivals_of
from benchmarks.transform.traces.poisson import PAPER_RATES_RPS, poisson


def test_a_row_of_2021_starts_where_it_ends_less_its_duration_and_apps_tell_functions_apart(tmp_path):
    file = tmp_path / "trace.txt"
    file.write_text("app,func,end_timestamp,duration\na,f,100.5,0.25\nb,f,100.25,2\na,f,1,3\n")
    assert azure_2021.read(file) == (
        Invocation(-2.0, "a/f", 3.0),
        Invocation(98.25, "b/f", 2.0),
        Invocation(100.25, "a/f", 0.25),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("app,func,end,duration\na,f,1,1\n", "has no column end_timestamp; it has app, func, end, duration"),
        ("app,func,end_timestamp,duration\na,f,1,1\na,f,late,1\n", "line 3: end_timestamp is 'late'"),
        ("app,func,end_timestamp,duration\na,f,1,\n", "line 2: duration is ''"),
        ("app,func,end_timestamp,duration\na,f,1,-1\n", "line 2: a duration of -1 s"),
        ("app,func,end_timestamp,duration\na,f,inf,1\n", "line 2: end_timestamp is 'inf'"),
        ("", "a text file with the columns app, func"),
    ],
)
def test_what_is_wrong_with_a_file_of_2021_is_said_with_its_line(tmp_path, text, said):
    file = tmp_path / "trace.txt"
    file.write_text(text)
    with pytest.raises(BadTrace, match=said):
        azure_2021.read(file)


def day_of_2019(folder, rows, day=1):
    file = folder / f"invocations_per_function_md.anon.d{day:02}.csv"
    header = ",".join([*azure_2019.IDS, "Trigger", *azure_2019.COUNTS])
    file.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return file


def counts(by_minute):
    return [by_minute.get(minute, 0) for minute in range(1, 1441)]


def test_a_day_of_2019_has_as_many_calls_in_each_minute_as_it_says(tmp_path):
    rows = [["o", "a", "f", "http", *counts({1: 2, 1440: 3})], ["o", "b", "f", "timer", *counts({2: 1})]]
    calls = azure_2019.read_day(day_of_2019(tmp_path, rows, day=2), seed=0)
    by_minute = Counter((each.function, int((each.start_s - 86400) // 60) + 1) for each in calls)
    assert by_minute == {("o/a/f", 1): 2, ("o/a/f", 1440): 3, ("o/b/f", 2): 1}
    assert all(math.isnan(each.duration_s) for each in calls)
    assert list(calls) == sorted(calls)


def test_durations_of_2019_follow_the_percentiles_in_milliseconds(tmp_path):
    file = day_of_2019(tmp_path, [["o", "a", "f", "http", *counts({5: 20_000})]])
    (tmp_path / "function_durations_percentiles.anon.d01.csv").write_text(
        ",".join([*azure_2019.IDS, "Average", "Count", "Minimum", "Maximum", *azure_2019.PERCENTILES])
        + "\no,a,f,1,1,1,1,100,110,200,400,1000,5000,6000\n"
    )
    durations = np.array([each.duration_s for each in azure_2019.read_day(file, seed=1)])
    assert 0.1 <= durations.min() and durations.max() <= 6.0
    np.testing.assert_allclose(np.percentile(durations, [25, 50, 75]), [0.2, 0.4, 1.0], rtol=0.05)
    # Linear between the percentiles: an eighth of all calls lies below half-way between the 0.01 and the 0.25 quantile.
    assert np.mean(durations < 0.155) == pytest.approx(0.13, abs=0.01)


def test_percentiles_that_were_not_recorded_leave_durations_unknown(tmp_path):
    file = day_of_2019(tmp_path, [["o", "a", "f", "http", *counts({5: 3})]])
    (tmp_path / "function_durations_percentiles.anon.d01.csv").write_text(
        ",".join([*azure_2019.IDS, *azure_2019.PERCENTILES]) + "\no,a,f,100,90,200,400,1000,5000,6000\n"
    )
    assert all(math.isnan(each.duration_s) for each in azure_2019.read_day(file, seed=1))


@pytest.mark.parametrize("bad", ["-1", "1.5", "many", ""])
def test_a_count_that_is_none_is_named(tmp_path, bad):
    rows = [["o", "a", "f", "http", *counts({})], ["o", "a", "g", "http", *counts({7: bad})]]
    with pytest.raises(BadTrace, match="line 3, minute 7"):
        azure_2019.read_day(day_of_2019(tmp_path, rows), seed=0)


def test_a_file_of_counts_without_all_minutes_or_under_another_name_is_refused(tmp_path):
    file = tmp_path / "invocations_per_function_md.anon.d01.csv"
    file.write_text("HashOwner,HashApp,HashFunction,Trigger,1\no,a,f,http,1\n")
    with pytest.raises(BadTrace, match="no column '2' and 1438 more"):
        azure_2019.read_day(file, seed=0)
    with pytest.raises(BadTrace, match="named as published"):
        azure_2019.read_day(tmp_path / "d01.csv", seed=0)


def test_generated_files_are_read_by_the_readers_and_are_the_same_for_the_same_seed(tmp_path):
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        generated.main([str(tmp_path / name), "--functions", "8", "--seed", str(seed)])
    texts = {n: [f.read_text() for f in sorted((tmp_path / n).iterdir())] for n in ("one", "again", "other")}
    assert texts["one"] == texts["again"]
    assert all(a != b for a, b in zip(texts["one"], texts["other"], strict=True))
    calls = azure_2021.read(tmp_path / "one" / "generated_2021.txt")
    assert 1 < len(calls_by_function(calls)) <= 8 and all(0 <= each.start_s < 86400 for each in calls)
    days = azure_2019.days_in(tmp_path / "one")
    first, second = (azure_2019.read_day(day, seed=0) for day in days)
    assert max(first).start_s < 86400 <= min(second).start_s
    assert {each.function for each in first if math.isnan(each.duration_s)} <= {sorted_last(days[0])}


def sorted_last(day):
    return "/".join(day.read_text().splitlines()[-1].split(",")[:3])


def test_functions_stand_for_models_one_each_and_the_replay_begins_at_0():
    calls = [Invocation(10.0 + i, f"f{i % 5}", 0.5) for i in range(50)]
    arrivals = on_models(calls, ["a", "b"], seed=0, with_durations=True)
    assert arrivals[0].at_s == 0 and Counter(each.model for each in arrivals) == {"a": 10, "b": 10}
    assert {each.serve_s for each in arrivals} == {0.5}
    assert all(math.isnan(each.serve_s) for each in on_models(calls, ["a"], seed=0))
    gaps = {b.at_s - a.at_s for m in "ab" for a, b in pairs([x for x in arrivals if x.model == m])}
    assert gaps == {5.0}  # each is one function, whose calls are 5 s apart
    chosen = {round(on_models(calls, ["a", "b"], seed=seed)[1].at_s) for seed in range(20)}
    assert chosen == {1, 2, 3, 4}  # any two functions
    with pytest.raises(BadTrace, match="6 models need as many functions, and there are 5"):
        on_models(calls, list("abcdef"), seed=0)


def pairs(values):
    return zip(values, values[1:], strict=False)


def test_a_window_takes_its_beginning_and_not_its_end():
    calls = [Invocation(float(i), "f") for i in (3, 1, 2, 0)]
    assert [each.start_s for each in window(calls, 1.0, 2.0)] == [1.0, 2.0]


def test_poisson_arrivals_have_the_rates_exponential_gaps_and_streams_of_their_own():
    arrivals = poisson(["rare", "often", "rare too"], (0.1, 1.0), 20_000.0, seed=0)
    assert list(arrivals) == sorted(arrivals)
    times = {m: np.array([x.at_s for x in arrivals if x.model == m]) for m in ("rare", "often", "rare too")}
    for model, rate in (("rare", 0.1), ("often", 1.0), ("rare too", 0.1)):
        low, high = stats.poisson.interval(0.999, rate * 20_000)
        assert low <= len(times[model]) <= high
        assert stats.kstest(np.diff(times[model]), stats.expon(scale=1 / rate).cdf).pvalue > 0.001
    assert not np.isin(times["rare"], times["rare too"]).any()
    assert tuple(x for x in arrivals if x.model == "rare") == poisson(["rare"], (0.1,), 20_000.0, seed=0)
    assert PAPER_RATES_RPS == pytest.approx((0.000316228, 0.00316228, 0.01), rel=1e-5)


@pytest.mark.parametrize(("rates", "span_s"), [((), 1.0), ((0.0,), 1.0), ((math.inf,), 1.0), ((1.0,), 0.0)])
def test_rates_and_spans_that_are_none_are_refused(rates, span_s):
    with pytest.raises(ValueError, match="positive"):
        poisson(["a"], rates, span_s, seed=0)


def test_a_trace_is_named_by_word_file_or_folder(tmp_path):
    generated.main([str(tmp_path), "--functions", "8", "--seed", "1"])
    part = Part(0.0, 3 * 86400.0)
    assert arrivals_of("poisson", ["a"], part, 0, (0.01,)) == poisson(["a"], (0.01,), part.span_s, 0)
    of_2021 = arrivals_of(str(tmp_path / "generated_2021.txt"), ["a", "b"], part, 0)
    both_days = arrivals_of(str(tmp_path), ["a", "b"], part, 0)
    first_day = arrivals_of(str(tmp_path / "invocations_per_function_md.anon.d01.csv"), ["a", "b"], part, 0)
    assert of_2021[0].at_s == both_days[0].at_s == 0
    assert max(first_day).at_s < 86400 < max(both_days).at_s
    assert isinstance(first_day[0], Arrival)
    (tmp_path / "empty").mkdir()
    for named, said in (("nowhere", "there is no"), ("empty", "has no invocations_per_function_md")):
        with pytest.raises(BadTrace, match=said):
            arrivals_of(str(tmp_path / named), ["a"], part, 0)
    with pytest.raises(BadTrace, match="has no call from 1e\\+09 s"):
        arrivals_of(str(tmp_path), ["a"], Part(1e9, 1.0), 0)

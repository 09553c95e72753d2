"""Curves of a real service, measured in this process and on Ray: kept, used again, and shown."""

import json
import sys
import time
from contextlib import closing
from dataclasses import replace

import pytest

from cluster.inventory import Inventory, Node
from cluster.operators.curves.benchmark import measure
from cluster.operators.curves.point import Job, NotMeasured, Point
from cluster.operators.curves.timing import Patience
from raytune_infer.commands.app import main
from raytune_infer.errors import UserError
from raytune_infer.operators.curve_study import studied, wanted
from raytune_infer.operators.on_ray import Placed, points_on_ray
from raytune_infer.operators.profiling import profile_service
from raytune_infer.report.renderers import renderer_of
from raytune_infer.report.words.operators.studied_view import studied_view
from raytune_infer.spec.service import Service
from raytune_infer.spec.service_spec import load_spec
from raytune_infer.store.curves import CurveStore
from raytune_infer.store.database import Database
from raytune_infer.study.connection.curves_on_cluster import _settings_of, curves_on_cluster
from serve_deployments.settings import Settings
from tests.cluster.operators.curves.test_operator_benchmark import dense
from tests.raytune_infer.operators.a_model import write

QUICK = Patience(most_s=0.002, fewest=4, block_s=0.0001)
ONE_NODE = Inventory((Node("a", "here", 2, 8.0),))


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    knobs = "max_batch_size: [4, 1, 2, 8], precision: [float32, bfloat16], batch_wait_ms: [0, 5]"
    return Service(load_spec(write(tmp_path_factory.mktemp("service"), "conv", samples="images.npy", knobs=knobs)))


@pytest.fixture(scope="module")
def profile(service):
    return profile_service(service)


def here(placed):
    """Measure in this process, with no limits."""
    for each in placed:
        for found in measure(each.jobs, lambda *_: None, seconds=30, clock=time.perf_counter, patience=QUICK):
            yield (
                found
                if isinstance(found, NotMeasured)
                else Point(found[0].operator, found[0].resources, found[1], "cpu", "torch")
            )


def asked(service, profile, store, seconds=1e3):
    settings_of = _settings_of(service.spec, ONE_NODE)
    return wanted(service.spec, profile, store, settings_of, devices=["cpu"], versions="torch", seconds=seconds)


def test_what_was_measured_is_kept_and_a_second_model_of_the_same_operators_needs_nothing(service, profile, tmp_path):
    url = f"sqlite:///{tmp_path}/operators.db"
    said: list[str] = []
    with closing(Database(url)) as database:
        store = CurveStore(database)
        first = studied(asked(service, profile, store), store, here, said.append)
        assert first.measured > 50 and not first.known and said[0] == f"50 of {first.measured} points"
    with closing(Database(url)) as database:
        store = CurveStore(database)
        again = asked(service, replace(profile, name="another"), store)
        assert again.placed == () and again.plan.known == first.measured
        second = studied(again, store, here, said.append)
        assert (second.measured, second.known) == (0, first.measured)
        assert {p.operator for p in second.curves.points} == set(first.operators)


def test_what_is_measured_until_an_interruption_is_kept(service, profile, tmp_path):
    def broken(placed):
        for number, point in enumerate(here(placed)):
            if number == 7:
                raise KeyboardInterrupt
            yield point

    with closing(Database(f"sqlite:///{tmp_path}/operators.db")) as database:
        store = CurveStore(database)
        with pytest.raises(KeyboardInterrupt):
            studied(asked(service, profile, store), store, broken, print)
        assert len(store.points(devices=["cpu"], versions="torch")) == 7


def test_the_view_names_shapes_effects_and_predictions_in_every_format(service, profile, tmp_path):
    with closing(Database(f"sqlite:///{tmp_path}/operators.db")) as database:
        store = CurveStore(database)
        found = studied(asked(service, profile, store), store, here, lambda _: None)
    curves, predicted = studied_view(service.spec, profile, found)
    shapes, knobs = curves.tables
    assert {"conv2d", "dense"} <= set(shapes.column("operator"))
    assert set(shapes.column("shape")) <= {"flat", "slope", "knee", "concave", "convex"}
    assert set(knobs.column("knob")) == {"max_batch_size", "precision", "batch_wait_ms"}
    [chart] = curves.charts
    assert chart.title == "Operators over the batch"
    rates = [cell.value for cell in predicted.tables[0].column("rate")]  # type: ignore[union-attr]
    assert rates == sorted(rates, reverse=True) and len(rates) == 16
    for view in (curves, predicted):
        for form in ("console", "json", "html", "csv"):
            with (tmp_path / f"out.{form}").open("w") as file:
                renderer_of(form)(view, file)


def test_a_service_without_operators_says_why_it_has_no_curves(tmp_path):
    service = Service(load_spec(write(tmp_path, "numbers")))
    with pytest.raises(UserError, match="no operators that can be measured"):
        curves_on_cluster(
            service.spec, profile_service(service), address=None, db=None, seconds=1, said=print
        )  # fmt: skip


@pytest.mark.ray
def test_points_are_measured_by_tasks_of_ray_under_limits(local_ray):
    from cluster.operators.curves.point import Resources
    from cluster.operators.scaling import OperatorClass

    jobs = (Job(dense(64), Resources(2)), Job(OperatorClass("nolib::nothing", "unmapped", ()), Resources(2)))
    placed = Placed(Settings(cpu_cores=1), jobs, 5.0)
    results = [each for each in points_on_ray([placed]) if not isinstance(each, str)]
    assert {each.operator.name for each in results if isinstance(each, Point)} == {"aten::linear"}
    [failed] = [each for each in results if isinstance(each, NotMeasured)]
    assert failed.job == jobs[1] and "no operator" in failed.why


@pytest.mark.ray
def test_the_command_measures_once(local_ray, service, tmp_path, monkeypatch, capsys):
    words = ["raytune-infer", "operators", str(service.spec.folder / "service.yaml"), "--curves", "--seconds", "4"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [*words, "--format", "json"])
    told = []
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        out = capsys.readouterr()
        told.append((json.loads(out.out), out.err))
    assert "measuring" in told[0][1] and "for 4 s at the most" in told[0][1]
    assert "are known" in told[1][1] and (tmp_path / "runs" / "operators.db").exists()
    assert told[1][0]["sections"][1]["title"] == "Predicted"

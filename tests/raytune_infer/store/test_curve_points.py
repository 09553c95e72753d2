"""Points of curves in the database: of the same the last counts, and others are left alone."""

from contextlib import closing
from dataclasses import replace

from raytune_infer.store.curves import CurveStore
from raytune_infer.store.database import Database
from tests.cluster.operators.curves.test_lookup import point
from tests.cluster.operators.curves.test_operator_benchmark import dense
from tests.raytune_infer.store.raw_tables import execute


def test_what_is_added_is_there_again_and_a_second_measurement_replaces_the_first(url):
    first = [point(dense(), batch, 0.1 * batch) for batch in (1, 2)]
    on_gpu = replace(point(dense(), 1, 0.01, gpu_type="T4", gpu_share=0.5), device="T4")
    again = point(dense(), 2, 0.3)
    with closing(Database(url)) as database:
        store = CurveStore(database)
        assert store.add([*first, on_gpu]) == 3 and store.add([again]) == 1
    with closing(Database(url)) as database:
        store = CurveStore(database)
        assert set(store.points(devices=["cpu"], versions="torch")) == {first[0], again}
        assert set(store.points(devices=["cpu", "T4"], versions="torch")) == {first[0], again, on_gpu}
        assert store.points(devices=["cpu"], versions="torch 9") == ()


def test_a_point_of_another_version_is_as_if_not_there(url):
    with closing(Database(url)) as database:
        store = CurveStore(database)
        store.add([point(dense(), 1, 0.1), point(dense(8), 1, 0.2)])
        execute(url, "UPDATE operator_points SET operator = '[1]' WHERE mean_s < 0.15")
        assert [each.time.mean_s for each in store.points(devices=["cpu"], versions="torch")] == [0.2]

"""Which models can be served together, and the prices that are learnt."""

import pytest

from serve_deployments.models.model import Builder
from serve_deployments.replicas.many.application import application
from serve_deployments.replicas.many.choosing.observed_prices import UNKNOWN_S, ObservedPrices
from serve_deployments.replicas.many.choosing.state import ReplicaState
from serve_deployments.replicas.many.entry import ModelEntry, process_settings
from serve_deployments.replicas.many.errors import NotTogether
from serve_deployments.settings import Settings

ARGS = {"model": {"reference": "m:f"}, "settings": {"cpu_cores": 2, "max_batch_size": 4}}


def test_an_entry_is_what_an_exported_config_says():
    entry = ModelEntry.of("a", {**ARGS, "payload": {"kind": "text"}, "warm_up": ["x"]})
    assert (entry.source, entry.settings) == (Builder("m:f"), Settings(cpu_cores=2, max_batch_size=4))
    assert entry.payload_type.kind == "text"


@pytest.mark.parametrize("name", ["", "a\nb", "é", " a"])
def test_a_name_that_no_header_takes_is_refused(name):
    with pytest.raises(ValueError, match="printable ASCII"):
        ModelEntry.of(name, ARGS)


def test_models_that_need_other_processes_are_refused_by_name():
    alike = ModelEntry.of("b", {**ARGS, "settings": {"cpu_cores": 2, "max_batch_size": 1}})
    assert process_settings([ModelEntry.of("a", ARGS), alike]).cpu_cores == 2
    other = ModelEntry.of("c", {**ARGS, "settings": {"cpu_cores": 1}})
    with pytest.raises(NotTogether, match="models a and c differ in cpu_cores, 2 and 1"):
        process_settings([ModelEntry.of("a", ARGS), alike, other])


def test_the_application_has_a_deployment_for_each_replica():
    bound = application({"models": {"a": ARGS}, "replicas": 2, "idle_s": 5})._bound_deployment
    entries, idle_s, *holders = bound.init_args
    assert [entry.name for entry in entries] == ["a"] and idle_s == 5.0
    names = [holder._bound_deployment.name for holder in holders]
    assert names == ["Holder-1", "Holder-2"]
    assert all(holder._bound_deployment.ray_actor_options["num_cpus"] == 2 for holder in holders)
    for bad in ({"models": {}, "replicas": 1}, {"models": {"a": ARGS}, "replicas": 0}):
        with pytest.raises(ValueError, match="one or more"):
            application(bad)


def test_prices_are_the_pairs_own_else_the_models_else_all():
    prices, replica = ObservedPrices(), ReplicaState("r", "n", ("a",))
    assert prices.convert(replica, "b", "a").seconds == UNKNOWN_S
    prices.took("a", "b", 2.0, 50)
    assert prices.convert(replica, "b", "a").seconds == 2.0 and prices.convert(replica, "b", "a").bytes_moved == 50
    assert prices.convert(replica, "b", None).seconds == prices.convert(replica, "c", "a").seconds == 2.0
    prices.took("a", "b", 4.0, 50)
    assert prices.convert(replica, "b", "a").seconds == pytest.approx(0.7 * 2 + 0.3 * 4)
    prices.forget("b")
    assert prices.convert(replica, "b", "a").seconds == pytest.approx(2.6)  # the mean of all that there was

"""What a run sets for itself is gone afterwards, whatever became of the run."""

import logging
import os

import pytest

from raytune_infer.study.search import quiet_tune
from serve_deployments.environment.temporary import environment


def test_variables_are_as_before_also_after_an_error(monkeypatch):
    monkeypatch.setenv("SET_BEFORE", "a")
    monkeypatch.delenv("NOT_SET_BEFORE", raising=False)
    with pytest.raises(KeyError), environment({"SET_BEFORE": "b", "NOT_SET_BEFORE": "c"}):
        assert (os.environ["SET_BEFORE"], os.environ["NOT_SET_BEFORE"]) == ("b", "c")
        raise KeyError
    assert os.environ["SET_BEFORE"] == "a" and "NOT_SET_BEFORE" not in os.environ


TUNE = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "inf",
    "RAY_AIR_NEW_OUTPUT": "0",
}
"""By its own documentation: Ctrl-C is left to us, no files of results, none of its state, no banner."""


def test_tune_does_nothing_of_its_own_while_we_search_and_other_tuners_are_left_alone(monkeypatch):
    for name in TUNE:
        monkeypatch.delenv(name, raising=False)
    log = logging.getLogger("ray.tune")
    monkeypatch.setattr(log, "level", logging.INFO)
    before = dict(os.environ)
    with pytest.raises(KeyboardInterrupt), quiet_tune():
        assert dict(os.environ) == before | TUNE and log.level == logging.CRITICAL
        raise KeyboardInterrupt
    assert dict(os.environ) == before and log.level == logging.INFO


@pytest.mark.parametrize("name", TUNE)
def test_what_the_user_asks_of_tune_stands(monkeypatch, name):
    for other in TUNE:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "30")
    before = dict(os.environ)
    with quiet_tune():
        assert dict(os.environ) == before | TUNE | {name: "30"}
    assert dict(os.environ) == before

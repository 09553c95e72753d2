"""What a run sets for itself is gone afterwards, whatever became of the run."""

import logging
import os

import pytest

from raytune_infer.environment import environment
from raytune_infer.search import quiet_tune


def test_variables_are_as_before_also_after_an_error(monkeypatch):
    monkeypatch.setenv("SET_BEFORE", "a")
    monkeypatch.delenv("NOT_SET_BEFORE", raising=False)
    with pytest.raises(KeyError), environment({"SET_BEFORE": "b", "NOT_SET_BEFORE": "c"}):
        assert (os.environ["SET_BEFORE"], os.environ["NOT_SET_BEFORE"]) == ("b", "c")
        raise KeyError
    assert os.environ["SET_BEFORE"] == "a" and "NOT_SET_BEFORE" not in os.environ


def test_other_tuners_of_the_process_are_left_alone_and_the_user_is_obeyed(monkeypatch):
    monkeypatch.setenv("TUNE_GLOBAL_CHECKPOINT_S", "30")
    monkeypatch.delenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", raising=False)
    log = logging.getLogger("ray.tune")
    monkeypatch.setattr(log, "level", logging.INFO)
    with quiet_tune():
        assert os.environ["TUNE_GLOBAL_CHECKPOINT_S"] == "30"
        assert os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] == "1" and log.level == logging.CRITICAL
    assert "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS" not in os.environ and log.level == logging.INFO

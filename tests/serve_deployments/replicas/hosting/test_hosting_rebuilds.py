"""A model that is built anew in the same process: what is left of the one before, and what if that does not end."""

import asyncio
import os
import subprocess
import sys
import threading
import weakref
from dataclasses import replace
from pathlib import Path

import pytest

from serve_deployments.models.model import Builder
from serve_deployments.replicas import hosting
from serve_deployments.replicas.hosting import HostedModel, NotRebuilt
from serve_deployments.settings import Settings

FULL = Settings(emulated=True)
HALF = replace(FULL, precision="bfloat16")
events: list[object] = []


def hosted(name):
    return HostedModel(Builder(f"{__name__}:{name}"))


async def one_after_the_other(host):
    for settings in (FULL, HALF):
        await host.take_on(settings)
    return await host(["x"])


class RefersToItself:
    """A model whose process ends with it, as those of a `multiprocessing.Pool` do."""

    def __init__(self, precision):
        self.precision, self.me = precision, self
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        weakref.finalize(self, ended, child)

    def __call__(self, payloads):
        return [self.precision] * len(payloads)


def ended(child):
    child.kill()
    child.wait()
    child.stdin.close()
    events.append(threading.current_thread().name)


def test_what_a_model_has_started_ends_with_it_where_it_was_built_also_if_it_refers_to_itself():
    events.clear()
    host = hosted("RefersToItself")
    try:
        assert asyncio.run(one_after_the_other(host)) == ["bfloat16"] and events == ["model"]
    finally:
        asyncio.run(host.close())
    assert events == ["model"] * 2 and not host.processes.descendants()


def ends_late(precision):
    """A model whose process needs a moment to end after it was told to."""
    script = "import sys, time; sys.stdin.read(); time.sleep(0.3)"
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)

    class EndsLate:
        def __call__(self, payloads):
            return [precision] * len(payloads)

        def close(self):
            child.stdin.close()

    children.append(child)
    return EndsLate()


children: list[subprocess.Popen] = []


def test_what_was_told_to_end_has_a_moment_for_it():
    host = hosted("ends_late")
    assert asyncio.run(one_after_the_other(host)) == ["bfloat16"]
    asyncio.run(host.close())
    assert [child.wait(60) for child in children] == [0, 0]


def never_closes(precision):
    class NeverCloses:
        def __call__(self, payloads):
            return payloads

        async def close(self):
            await asyncio.Event().wait()

    return NeverCloses()


def test_a_model_that_is_not_closed_in_time_is_not_waited_for_any_longer(monkeypatch):
    monkeypatch.setattr(hosting, "_CLOSE_S", 0.05)
    with pytest.raises(NotRebuilt, match="not closed within 0.05 s: its `close`, or what it has started, does not end"):
        asyncio.run(one_after_the_other(hosted("never_closes")))


def elsewhere(precision):
    """Reads a file beside the service, and then goes elsewhere."""
    words = Path("weights.txt").read_text()
    os.chdir("elsewhere")
    return lambda payloads: [words] * len(payloads)


def test_a_model_that_goes_to_another_folder_is_built_anew_in_that_of_its_service(tmp_path, monkeypatch):
    (tmp_path / "weights.txt").write_text("beside")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    assert asyncio.run(one_after_the_other(hosted("elsewhere"))) == ["beside"]

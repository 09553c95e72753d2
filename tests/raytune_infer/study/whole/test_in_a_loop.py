"""A study is run from wherever its caller is: a notebook's cell, which runs in an event loop, or a thread."""

import asyncio
import threading
from contextlib import contextmanager

import pytest

from tests.raytune_infer.study.stop_after import StopAfter
from tests.raytune_infer.study.whole_studies import Machine, TuneInProcess, study, without_ray


@pytest.fixture(autouse=True)
def in_process(monkeypatch) -> TuneInProcess:
    return without_ray(monkeypatch)


class Looping(Machine):
    """Does what Serve's handles and the load do: it runs a loop of its own, where none may run already."""

    measured = 0

    @contextmanager
    def serving(self, study):
        asyncio.run(asyncio.sleep(0))
        with super().serving(study) as runtime:
            yield runtime

    def measure(self, *args, **options):
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        asyncio.run(asyncio.sleep(0))
        self.measured += 1
        return super().measure(*args, **options)


def test_in_a_loop_that_runs_and_goes_on_afterwards(tmp_path):
    machine = Looping()

    async def cell():
        others = asyncio.create_task(asyncio.sleep(0, "still there"))
        result = study(tmp_path / "run", machine, searcher="random").run(3)
        assert asyncio.get_running_loop() is others.get_loop()
        with pytest.raises(KeyboardInterrupt):
            study(tmp_path / "cut", Looping(), searcher="random").run(3, progress=StopAfter(1))
        assert asyncio.get_running_loop() is others.get_loop()
        return result, await others

    result, others = asyncio.run(cell())
    assert others == "still there" and result.best is not None
    assert machine.measured == len(result.trials) and {t.purpose for t in result.trials} == {"search", "final"}


def test_in_a_thread(tmp_path):
    found = []
    thread = threading.Thread(
        target=lambda: found.append(study(tmp_path / "run", Looping(), searcher="random").run(3)), daemon=True
    )
    thread.start()
    thread.join()
    assert found[0].best is not None

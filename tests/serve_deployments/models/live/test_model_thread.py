"""The thread that a model runs in: what its event loop hands to other threads is held to the share of a GPU too."""

import asyncio

from serve_deployments.device.gpu import driver, share
from serve_deployments.device.gpu.share import confine
from serve_deployments.fakes.fake_torch import FakeTorch
from serve_deployments.models.live.model_thread import ModelThread


def test_threads_of_asyncio_compute_in_the_share_of_the_model(monkeypatch):
    torch = FakeTorch()
    monkeypatch.setattr(driver, "library", lambda: torch.driver)
    monkeypatch.setattr(share, "_held", {})
    monkeypatch.setattr(share, "_now", [])

    async def elsewhere():
        loop = asyncio.get_running_loop()
        others = [asyncio.to_thread(torch.cuda.current_stream), loop.run_in_executor(None, torch.cuda.current_stream)]
        return [torch.cuda.current_stream(), *await asyncio.gather(*others)]

    async def run():
        thread = ModelThread()
        await thread.call(confine, 0.25, torch)
        return await thread.run(elsewhere())

    assert [stream.multiprocessors for stream in asyncio.run(run())] == [32, 32, 32]

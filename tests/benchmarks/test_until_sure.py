"""The benchmark of measuring until sure knows its servers' true rates."""

import numpy as np
import pytest

from benchmarks.measuring.until_sure import HEADER, PLAN, SERVERS, row


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_what_varies_has_mean_one(server):
    factor = server.varies(np.random.default_rng(0))
    assert np.mean([factor(0.05 * i) for i in range(20_000)]) == pytest.approx(1, abs=0.03)


def test_a_server_that_is_always_alike_is_sure_at_once():
    cells, sooner = row(SERVERS[0], 2)
    assert len(cells) == len(HEADER) and sooner > 20
    assert SERVERS[0].level(0, PLAN).achieved_rps == pytest.approx(SERVERS[0].rate_rps)

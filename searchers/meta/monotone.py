"""Which configurations must or cannot run, as implied by trials: more memory never hurts, larger batches never help.

A configuration that could not run almost always lacked memory. Then one that differs only by having no more of it, or
by larger batches, lacks it too; and one that runs also runs with more memory or smaller batches. A Gaussian prior
over smooth surfaces does not model this edge, and would try every cheap corner beyond it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from searchers.base import Observation
from searchers.space import Space

_HELPS = ("log2_gpu_memory_gib", "log2_gpu_memory_cap_gib")
"""Feature columns whose increase never stops a configuration from running."""
_HURTS = ("log2_max_batch_size",)
"""Feature columns whose increase never helps a configuration to run."""
_BESIDE = ("log2_cpu_cores", "log2_threads", "log2_batch_wait_ms_plus_1")
"""Feature columns that do not affect whether a batch fits in memory."""


class Monotone:
    """Comparison of configurations by the memory that they need and have.

    Args:
        space: the configurations; its feature columns are recognised by name.
    """

    def __init__(self, space: Space) -> None:
        names = np.array(space.columns)
        signs = np.where(np.isin(names, _HELPS), 1.0, np.where(np.isin(names, _HURTS), -1.0, 0.0))
        self._margin = space.features[:, signs != 0] * signs[signs != 0]
        alike = (signs == 0) & ~np.isin(names, _BESIDE)
        self._kind = np.unique(space.features[:, alike], axis=0, return_inverse=True)[1].reshape(len(space))

    def implied(self, observed: Iterable[Observation]) -> tuple[np.ndarray, np.ndarray]:
        """`[n]` masks of the configurations that must run, and of those that cannot, if these trials are typical.

        A trial that broke a limit on errors still counts as one that ran. Where trials contradict one another (a
        failure had another cause than memory), nothing is implied.
        """
        runs, fails = np.zeros(len(self._kind), dtype=bool), np.zeros(len(self._kind), dtype=bool)
        for each in observed:
            alike = self._kind == self._kind[each.position]
            more = self._margin - self._margin[each.position]
            if each.metrics is not None:
                runs |= alike & (more >= 0).all(axis=1)
            else:
                fails |= alike & (more <= 0).all(axis=1)
        return runs & ~fails, fails & ~runs

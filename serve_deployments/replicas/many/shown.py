"""What was done for requests, as gauges of Ray."""

from __future__ import annotations

from serve_deployments.metrics.shown.gauges import Gauges
from serve_deployments.metrics.shown.series import Series
from serve_deployments.replicas.many.tally import Tally

DONE = Series(
    "raytune_infer_many_requests",
    "Requests that were answered since the application was deployed, by what was done for them.",
    ("application", "model", "done"),
)
BYTES_MOVED = Series(
    "raytune_infer_many_moved_bytes",
    "Bytes of weights that were read or copied since the application was deployed.",
    ("application",),
)
FIRST_OUTPUT_S = Series(
    "raytune_infer_many_first_output_s",
    "Mean seconds from a request to its output since the application was deployed, by what was done for it.",
    ("application", "done"),
)
LOST = Series(
    "raytune_infer_many_lost_requests",
    "How often a request had to be given to another replica, as its own was lost.",
    ("application",),
)


class Shown:
    """Shows a tally, and keeps it shown.

    Args:
        application: name of the Serve application.
    """

    def __init__(self, application: str) -> None:
        self._gauges = Gauges([DONE, BYTES_MOVED, FIRST_OUTPUT_S, LOST], {"application": application})

    def show(self, tally: Tally) -> None:
        """Shows the figures as they are now."""
        for (model, done), count in tally.done.items():
            self._gauges.set(DONE, count, model=model, done=done)
        for done, (count, total_s, _) in tally.first_output_s.items():
            self._gauges.set(FIRST_OUTPUT_S, total_s / count, done=done)
        self._gauges.set(BYTES_MOVED, tally.bytes_moved)
        self._gauges.set(LOST, tally.lost)

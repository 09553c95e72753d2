"""A connection to Ray inside a context: joined at an address or started, with a sentence for each way to fail."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

from cluster.starting.own_ray import START
from raytune_infer.errors import UserError

_log = logging.getLogger(__name__)
_ATTEMPTS = 3


@contextmanager
def connected(address: str, runtime_env: dict[str, Any], *, apart: bool = False, **options: Any) -> Iterator[None]:
    """Connect to Ray, or start one, inside the context.

    Args:
        address: its address; "local" to start one.
        runtime_env: see Ray.
        apart: whether workers are not to find the modules in the folder that we work in, where Ray has them look first.
        options: see `ray.init`.
    """
    import ray

    init = partial(
        ray.init, address=address, runtime_env=runtime_env, log_to_driver=False, logging_level=logging.ERROR, **options
    )
    with TemporaryDirectory(prefix="raytune-infer-") if apart else nullcontext() as empty:
        try:
            _until_up(init if empty is None else partial(_working_in, empty, init))
        except UserError:
            raise
        except ConnectionError as error:
            raise UserError(
                f"no Ray cluster at {address!r} ({_first_line(error)}); start one with `{START}`, or leave "
                "--address out to use this machine"
            ) from None
        except (RuntimeError, ValueError, OSError) as error:
            asked = "start Ray on this machine" if address == "local" else f"connect to the Ray cluster at {address!r}"
            remedy = (
                "; the folder of service.yaml is sent to the nodes, so keep big files elsewhere, on a path that every "
                "node has"
            )
            shipped = "working_dir" in runtime_env
            raise UserError(f"cannot {asked}: {_first_line(error)}{remedy if shipped else ''}") from None
        try:
            yield
        finally:
            ray.shutdown()


def _working_in(folder: str, function: Callable[[], object]) -> None:
    """Call a function in another working folder."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        function()
    finally:
        os.chdir(before)


def _first_line(error: Exception) -> str:
    """Return the first line of an error's message; its repr if the message is empty."""
    return next(iter(str(error).strip().splitlines()), repr(error))


def _until_up(init: Callable[[], object]) -> None:
    """Start Ray; retry if its node was not up in time, as a later attempt has less to read from the disk."""
    import ray

    for attempt in range(_ATTEMPTS):
        try:
            init()
            return
        except Exception as error:
            if "timed out during startup" not in str(error):  # Ray has no exception class for it
                raise
            ray.shutdown()
            _log.warning("Ray did not start within 30 s, attempt %d of %d", attempt + 1, _ATTEMPTS)
    raise UserError(
        f"Ray did not start within 30 s in any of {_ATTEMPTS} attempts, probably because this machine is too busy; "
        "try again when it is less busy"
    )

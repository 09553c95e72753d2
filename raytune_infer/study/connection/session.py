"""Connection to a Ray cluster for the duration of a study: an existing, a local or an emulated cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from cluster.emulated.devices import emulated_cluster, parse
from cluster.starting.own_ray import closed_ray
from raytune_infer.errors import UserError
from raytune_infer.study.connection.connected import connected
from raytune_infer.study.connection.refusals import refuse_other_kinds, refuse_silence, refuse_warnings_as_errors
from raytune_infer.study.connection.worker_environment import local_environment, shipped_environment
from serve_deployments.device.limits import machine_cores
from serve_deployments.environment.temporary import environment, unless_set

_OWN_RAY = {"RAY_worker_niceness": "0"}
"""Environment of a Ray that is started here; the user's settings win. By default Ray's workers have a low priority
(nice 15): beside one busy process a trivial replica then answered 510 requests/s, with nice 0 1,250."""
_LONGEST_FOLDER = 39
"""Longest path in bytes of a temporary folder in which Ray 2.60 can make its sockets: Linux allows 107 bytes for a
socket's name (unix(7)), of which `/ray/session_` with date and process, and `/sockets/plasma_store` take 68."""


def check_session(*, address: str | None, emulate: str | None) -> None:
    """Check the arguments of `ray_session` as far as is possible without Ray, whose import takes seconds.

    Args:
        address: see `ray_session`.
        emulate: see `ray_session`.

    Raises:
        UserError: a GPU to emulate is unknown, both emulation and an address are asked for, the address is of a kind
            that a study cannot use, nothing listens there, or warnings of Ray's libraries would be errors.
    """
    connected = "ray" in sys.modules and sys.modules["ray"].is_initialized()
    if not connected:
        refuse_warnings_as_errors()
    if emulate is not None:
        try:
            parse(emulate)
        except ValueError as error:
            raise UserError(f"--emulate {emulate}: {error}") from None
        if address is not None or connected:
            raise UserError(
                "--emulate starts its own local cluster, so it cannot be combined with --address or a running Ray"
            )
    elif not connected and (asked := address or os.environ.get("RAY_ADDRESS")):
        remedy = "leave --address out" if address else "unset the variable RAY_ADDRESS"
        refuse_other_kinds(asked, remedy)
        refuse_silence(asked, remedy)


@contextmanager
def ray_session(
    *, address: str | None, emulate: str | None, folder: Path, runs_code: bool = False, modules: Sequence[str] = ()
) -> Iterator[None]:
    """Connect to Ray inside the context, and restore the previous state afterwards.

    A process that is connected already keeps its connection. Otherwise we connect to `address` (or the variable
    RAY_ADDRESS, which `ray job submit` sets); without one a local Ray is started and later stopped.

    The arguments are those that `check_session` has accepted.

    Args:
        address: address of a running cluster; "auto" for the one on this machine.
        emulate: nodes of a local emulated cluster (`T4:1,V100:1`), which is started instead.
        folder: folder of service.yaml.
        runs_code: whether workers are to find the modules in it; if not, none of them is ever imported there.
        modules: dotted names of those that workers need.

    Raises:
        UserError: no cluster answers at the address, a Ray on this machine does not start, or one of the modules is in
            the folder but must not be sent to other machines.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    logging.getLogger("ray").setLevel(logging.ERROR)  # its messages at INFO are of no use to a study
    address = address or os.environ.get("RAY_ADDRESS")
    if address is not None and emulate is None:
        with shipped_environment(folder, runs_code, modules) as there, connected(address, there):
            yield
        return
    local = partial(connected, runtime_env=local_environment(folder, runs_code), apart=not runs_code)
    with environment(unless_set(_own_ray())), closed_ray():
        if emulate is not None:
            with emulated_cluster(emulate) as own_address, local(own_address):
                yield
        else:
            cores = len(machine_cores())
            with local("local", num_cpus=cores, include_dashboard=False):
                yield


@contextmanager
def no_running_loop() -> Iterator[None]:
    """Hide the event loop that runs in this thread inside the context, as in a notebook, whose cells run in one.

    What is called here blocks that loop anyway. Ray Serve refuses to wait inside of one, and `asyncio.run` to begin
    another.
    """
    running = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(running)


def _own_ray() -> dict[str, str]:
    """Return the environment of a Ray that is started here; its folder is in /tmp if socket names would be too long."""
    short = len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_FOLDER
    return _OWN_RAY if short else {**_OWN_RAY, "RAY_TMPDIR": "/tmp"}

"""A Ray cluster for as long as a study lasts: one that is there, a local one, or an emulated one."""

from __future__ import annotations

import logging
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from cluster.emulated.devices import emulated_cluster, parse
from raytune_infer.environment import environment, unless_set
from raytune_infer.errors import UserError
from serve_deployments.device.limits import machine_cores

_log = logging.getLogger(__name__)
_ANSWER_S = 5.0
_ATTEMPTS = 3
_OWN_RAY = {"RAY_worker_niceness": "0"}
"""For a Ray that is started here; what the user sets stands. By default Ray's workers yield to whatever else their
machine does (nice 15): beside one busy process a trivial replica then answered 510 requests/s, with nice 0 1,250."""
_LONGEST_FOLDER = 39
"""Of a path of 107 bytes, Linux's bound for a socket's name (unix(7)), what Ray 2.60 leaves for the temporary folder:
68 are `/ray/session_` with date and process, `/sockets/plasma_store`."""

OUR_PACKAGES = ("raytune_infer", "searchers", "serve_deployments", "cluster")


def check_session(*, address: str | None, emulate: str | None) -> None:
    """Refuse what cannot become a session, as far as that is known without Ray, which takes seconds to import.

    Args: those of `ray_session`.

    Raises:
        UserError: no such GPU to emulate, emulation and an address at once, or nothing listens at the address.
    """
    connected = "ray" in sys.modules and sys.modules["ray"].is_initialized()
    if emulate is not None:
        try:
            parse(emulate)
        except ValueError as error:
            raise UserError(f"--emulate {emulate}: {error}") from None
        if address is not None or connected:
            raise UserError("--emulate starts its own local cluster, so it goes without --address or a running Ray")
    elif not connected and (asked := address or os.environ.get("RAY_ADDRESS")):
        _refuse_silence(asked)


@contextmanager
def ray_session(*, address: str | None, emulate: str | None, folder: Path) -> Iterator[None]:
    """Connect to Ray, and leave it as it was found.

    A process that is connected already keeps its connection. Otherwise `address` (or the variable
    RAY_ADDRESS, which `ray job submit` sets) says where, and without one a local Ray is started and stopped.

    Args:
        address: of a running cluster; "auto" for the one on this machine.
        emulate: nodes of a local emulated cluster (`T4:1,V100:1`) instead.
        folder: of service.yaml, so that workers import the modules beside it.

    Raises:
        UserError: no cluster answers at the address, or both an address and emulation are asked for.
    """
    check_session(address=address, emulate=emulate)
    import ray

    if ray.is_initialized():
        yield
        return
    logging.getLogger("ray").setLevel(logging.ERROR)  # what it says at INFO is of no use to a study
    address = address or os.environ.get("RAY_ADDRESS")
    if address is not None and emulate is None:
        with _connected(address, _shipped_environment(folder)):
            yield
        return
    with environment(unless_set(_own_ray())):
        if emulate is not None:
            with emulated_cluster(emulate) as own_address, _connected(own_address, _local_environment(folder)):
                yield
        else:
            cores = len(machine_cores())
            with _connected("local", _local_environment(folder), num_cpus=cores, include_dashboard=False):
                yield


def _own_ray() -> dict[str, str]:
    """What a Ray that is started here reads of its environment; unless a socket's name fits, it has its own folder."""
    short = len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_FOLDER
    return _OWN_RAY if short else {**_OWN_RAY, "RAY_TMPDIR": "/tmp"}


@contextmanager
def _connected(address: str, runtime_env: dict[str, Any], **options: Any) -> Iterator[None]:
    import ray

    try:
        _until_up(
            partial(
                ray.init, address=address, runtime_env=runtime_env, log_to_driver=False, logging_level=logging.ERROR,
                **options,
            )
        )  # fmt: skip
    except UserError:
        raise
    except ConnectionError as error:
        raise UserError(
            f"no Ray cluster at {address!r} ({_first_line(error)}); start one with `ray start --head`, "
            "or leave --address out to use this machine"
        ) from None
    except (RuntimeError, ValueError, OSError) as error:
        asked = "start Ray on this machine" if address == "local" else f"join the Ray cluster at {address!r}"
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


def _first_line(error: Exception) -> str:
    """What an error says, without what comes below; its name where it says nothing."""
    return next(iter(str(error).strip().splitlines()), repr(error))


def _until_up(init: Callable[[], object]) -> None:
    """Start Ray, again where its node was not up in time: the second time less is to be read from the disk."""
    import ray

    for attempt in range(_ATTEMPTS):
        try:
            init()
            return
        except Exception as error:
            if "timed out during startup" not in str(error):  # Ray has no class for it
                raise
            ray.shutdown()
            _log.warning("Ray was not up within its 30 s, attempt %d of %d", attempt + 1, _ATTEMPTS)
    raise UserError(
        f"Ray did not start within its 30 s in {_ATTEMPTS} attempts, most likely as this machine is too busy; "
        "try again once it is less so"
    )


def _refuse_silence(address: str) -> None:
    """Raise UserError where nothing listens at `host:port`: Ray itself would go on trying for ten minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdigit()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
    except OSError as error:
        raise UserError(
            f"nothing answers at {address!r} ({error.strerror or error}); start a cluster with `ray start --head`, "
            "or leave --address out to use this machine"
        ) from None


def _local_environment(folder: Path) -> dict[str, Any]:
    """Workers on this machine find the same modules as we do."""
    paths = [str(folder), os.getcwd(), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"env_vars": {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}}


def _shipped_environment(folder: Path) -> dict[str, Any]:
    """Workers elsewhere get our packages and the folder of service.yaml."""
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        return {}  # `ray job submit` has an environment already; two would contradict each other.
    return {"py_modules": [str(Path(import_module(p).__path__[0])) for p in OUR_PACKAGES], "working_dir": str(folder)}

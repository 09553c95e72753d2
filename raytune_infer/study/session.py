"""Connection to a Ray cluster for the duration of a study: an existing, a local or an emulated cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import site
import socket
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib import import_module
from importlib.machinery import all_suffixes
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cluster.emulated.devices import emulated_cluster, parse
from cluster.starting.own_ray import START, closed_ray
from cluster.starting.sent_folder import sent_folder
from raytune_infer.environment import environment, unless_set
from raytune_infer.errors import UserError
from raytune_infer.spec.service import OUR_PACKAGES
from serve_deployments.device.limits import machine_cores

_log = logging.getLogger(__name__)
_ANSWER_S = 5.0
_ATTEMPTS = 3
_OWN_RAY = {"RAY_worker_niceness": "0"}
"""Environment of a Ray that is started here; the user's settings win. By default Ray's workers have a low priority
(nice 15): beside one busy process a trivial replica then answered 510 requests/s, with nice 0 1,250."""
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Environment variable that `ray job submit` sets in a job's driver, whose working folder is the one that was sent."""
SENT_BELOW = "service"
"""Name of the folder, within what is sent to other machines, in which a service without code of its own is: Ray has the
workers look for modules in the folder around it, where there are none."""
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
        _refuse_warnings_as_errors()
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
        _refuse_other_kinds(asked, remedy)
        _refuse_silence(asked, remedy)


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
        with _shipped_environment(folder, runs_code, modules) as there, _connected(address, there):
            yield
        return
    local = partial(_connected, runtime_env=_local_environment(folder, runs_code), apart=not runs_code)
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


@contextmanager
def _connected(address: str, runtime_env: dict[str, Any], *, apart: bool = False, **options: Any) -> Iterator[None]:
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


def _refuse_other_kinds(address: str, remedy: str) -> None:
    """Raise UserError for addresses of other services of a Ray cluster than the one that a study joins."""
    shown = _shown(address)
    submit = "to run in a cluster from outside, use `ray job submit --working-dir . -- raytune-infer tune …`"
    if address.startswith("ray://"):
        raise UserError(f"{shown!r} is for Ray Client, over which replicas cannot be measured; {submit}, or {remedy}")
    if re.match(r"https?://", address):
        raise UserError(
            f"{shown!r} is the address of a Ray dashboard, for `ray job submit` and `serve deploy`, and cannot be "
            f"joined; {submit}, or {remedy}"
        )


def _refuse_warnings_as_errors() -> None:
    """Raise UserError if deprecations are errors in all modules: Ray's own libraries warn of some when imported."""
    for option in sys.warnoptions:
        action, _, category, module = [*option.split(":"), "", "", ""][:4]
        everywhere = not module and category in ("", "Warning", "DeprecationWarning")
        if action and "error".startswith(action) and everywhere:
            raise UserError(
                f"with PYTHONWARNINGS={option} (or -W) warnings of Ray's libraries are errors, so that Ray cannot be "
                f"imported; leave it out, or name your own module: {action}::{category}:my_module"
            )


def _shown(address: str) -> str:
    """Return an address as it may be shown: without a user's name and password."""
    return re.sub(r"//[^/]*@", "//***@", address)


def _refuse_silence(address: str, remedy: str) -> None:
    """Raise UserError if nothing listens at `host:port`: Ray itself would retry for ten minutes."""
    host, colon, port = address.rpartition(":")
    if not (colon and port.isdigit()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"nothing answers at {address!r} ({getattr(error, 'strerror', None) or error}); start a cluster with "
            f"`{START}`, or {remedy} to use this machine"
        ) from None


def _local_environment(folder: Path, runs_code: bool) -> dict[str, Any]:
    """Return the runtime environment in which workers on this machine find the same modules as we do.

    Where the service has no code of its own, modules of the same names as libraries' beside service.yaml, or where the
    command is run, must not be imported in their place.
    """
    ours = Path(import_module(OUR_PACKAGES[0]).__path__[0]).parent
    paths = [str(folder), os.getcwd()] if runs_code else [] if _is_installed(ours) else [str(ours)]
    paths += filter(None, [os.environ.get("PYTHONPATH")])
    return {"env_vars": {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}} if paths else {}


def _is_installed(folder: Path) -> bool:
    """Whether every Python finds modules of this folder, and after the standard library's."""
    return str(folder) in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), site.getusersitepackages())


@contextmanager
def _shipped_environment(folder: Path, runs_code: bool, modules: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the runtime environment that ships our packages and the folder of service.yaml to other machines."""
    if JOB_VARIABLE in os.environ:
        yield {}  # `ray job submit` has set an environment already; a second one would conflict with it.
        return
    with sent_folder(folder, below="" if runs_code else SENT_BELOW) as sent:
        for module in modules:
            _refuse_unsent(module, folder, sent)
        yield {"py_modules": [str(Path(import_module(p).__path__[0])) for p in OUR_PACKAGES], "working_dir": str(sent)}


def _refuse_unsent(module: str, folder: Path, sent: Path) -> None:
    """Raise UserError if a module is in a folder but not in what is sent of it."""
    stem = module.replace(".", os.sep)
    files = [f"{stem}{ending}" for suffix in all_suffixes() for ending in (f"{os.sep}__init__{suffix}", suffix)]
    here = [folder / file for file in files if (folder / file).is_file()]
    if here and not any((sent / file).is_file() for file in files):
        raise UserError(
            f"{here[0]} is not sent to the nodes of the cluster, as a .gitignore or .git/info/exclude in or around its "
            "folder or git's core.excludesFile names it, or its name is a usual one of secrets; take it out there, or "
            "rename it"
        )

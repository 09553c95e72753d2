"""A Ray that this process starts for itself: it listens on loopback alone, and answers only those who have its token.

Whoever reaches one of Ray's ports can run any code as the user who has started it. By default a Ray listens on the
machine's address in its network, and asks for a token only if it was started by `ray.init`, not by `Cluster`.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)
_NETWORK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Environment variable that says whether Ray (2.60) uses the machine's address in its network; 0 for loopback, as by
default on macOS, where several machines make no cluster. Ray has no other way: it replaces `_node_ip_address` of
127.0.0.1 by the address in the network."""
_MODE, _TOKEN, _TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
"""Environment variables that say how Ray authenticates, its token, and the token's file. Ray reads the first that there
is of the token, this file, and `~/.ray/auth_token`."""

START = f"export {_MODE}=token {_NETWORK}=0; ray start --head"
"""Command by which a user starts a Ray that is closed to others: plain `ray start --head` listens on all interfaces; so
does all but the dashboard with `--node-ip-address=127.0.0.1`. Exported, as what joins this Ray from the same shell must
also take 127.0.0.1 for its address: else Ray looks for it at the machine's address in the network, where nothing is."""


@contextmanager
def closed_ray() -> Iterator[None]:
    """Within this context, what is started of Ray in this process listens on loopback alone and asks for a token.

    It has to last as long as that Ray: who connects to it must also take 127.0.0.1 for its address. A user who has set
    RAY_AUTH_MODE has chosen otherwise, and keeps it. Afterwards the process has the environment that it had before, so
    that a Ray that it joins later is asked as the user has it.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    with _restored(_NETWORK, _MODE, _TOKEN):
        os.environ[_NETWORK] = "0"  # for Ray's own processes
        ray_constants.ENABLE_RAY_CLUSTER = False  # read when Ray was imported, which may be long ago
        try:
            _ask_for_token()
            yield
        finally:
            ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def _restored(*variables: str) -> Iterator[None]:
    """Give environment variables their values back afterwards, also in what Ray's library keeps of them."""
    before = {name: os.environ.get(name) for name in variables}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        _read_anew()


def _read_anew() -> None:
    """Have Ray's library, which reads the environment once, read again how Ray authenticates and by which token."""
    library: Any = import_module("ray._raylet")  # compiled, and without types
    library.Config.initialize("")
    library.AuthenticationTokenLoader.instance().reset_cache()


def _ask_for_token() -> None:
    """Have what is started of Ray ask for the user's token, made if there is none; nobody else may read it."""
    from ray._private.authentication import authentication_token_setup as tokens
    from ray._private.authentication.authentication_token_generator import generate_new_authentication_token

    if not tokens.enable_token_auth_by_default():
        return
    if _TOKEN not in os.environ and (known := _known_to_others(_token_file())) is not None:
        # Not replaced nor closed: another Ray of the user's may run with it, and who has read it still knows it.
        os.environ[_TOKEN] = generate_new_authentication_token()
        _log.warning(
            "%s, so this Ray has a token of its own; remove the file, and start what runs with that token anew (if "
            "nobody else can have read it: chmod 600)",
            known,
        )
        _read_anew()
    before = os.umask(0o077)  # Ray writes its file as everyone may read it
    try:
        tokens.ensure_token_if_auth_enabled(create_token_if_missing=True)
    finally:
        os.umask(before)


def _token_file() -> Path:
    return Path(os.environ.get(_TOKEN_PATH) or Path.home() / ".ray" / "auth_token")


def _known_to_others(file: Path) -> str | None:
    """Why others on the machine may know what a file says: they own it, or could read or write it; else None."""
    try:
        file = file.resolve(strict=True)
        found, around = file.stat(), [folder.stat().st_mode for folder in file.parents]
    except (OSError, RuntimeError):  # there is none, or a link to itself
        return None
    if found.st_uid not in (os.geteuid(), 0):
        return f"the token in {file} is another user's"
    for read, write, enter in ((stat.S_IRGRP, stat.S_IWGRP, stat.S_IXGRP), (stat.S_IROTH, stat.S_IWOTH, stat.S_IXOTH)):
        if found.st_mode & (read | write) and all(mode & enter for mode in around):
            return f"others on this machine could read or write the token in {file}"
    return None

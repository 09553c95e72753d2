"""A Ray that this process starts for itself: it listens on loopback alone, and answers only those who have its token.

Whoever reaches one of Ray's ports can run any code as the user who has started it. By default a Ray listens on the
machine's address in its network, and asks for a token only if it was started by `ray.init`, not by `Cluster`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NETWORK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Environment variable that says whether Ray (2.60) uses the machine's address in its network; 0 for loopback, as by
default on macOS, where several machines make no cluster. Ray has no other way: it replaces `_node_ip_address` of
127.0.0.1 by the address in the network."""


@contextmanager
def closed_ray() -> Iterator[None]:
    """Within this context, what is started of Ray in this process listens on loopback alone and asks for a token.

    It has to last as long as that Ray: who connects to it must also take 127.0.0.1 for its address. A user who has set
    RAY_AUTH_MODE has chosen otherwise, and keeps it.
    """
    from ray._private import ray_constants

    before, variable = ray_constants.ENABLE_RAY_CLUSTER, os.environ.get(_NETWORK)
    os.environ[_NETWORK] = "0"  # for Ray's own processes
    ray_constants.ENABLE_RAY_CLUSTER = False  # read when Ray was imported, which may be long ago
    try:
        _ask_for_token()
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        if variable is None:
            del os.environ[_NETWORK]
        else:
            os.environ[_NETWORK] = variable


def _ask_for_token() -> None:
    """Have what is started of Ray ask for the user's token, made if there is none; nobody else may read it."""
    from ray._private.authentication import authentication_token_setup as tokens

    before = os.umask(0o077)  # Ray writes its file as everyone may read it
    try:
        tokens.enable_token_auth_by_default()
        tokens.ensure_token_if_auth_enabled(create_token_if_missing=True)
    finally:
        os.umask(before)
    with suppress(OSError):  # the token is elsewhere, as RAY_AUTH_TOKEN_PATH says, or in RAY_AUTH_TOKEN
        opened = os.open(Path.home() / ".ray" / "auth_token", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            found = os.fstat(opened)
            if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
                os.fchmod(opened, 0o600)  # one of an earlier start
        finally:
            os.close(opened)

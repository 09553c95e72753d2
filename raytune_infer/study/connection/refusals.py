"""What is refused before Ray is imported or joined, as it would fail later and with less of a reason."""

from __future__ import annotations

import re
import socket
import sys

from cluster.starting.own_ray import START
from raytune_infer.errors import UserError

_ANSWER_S = 5.0
"""Time in seconds within which something must answer at the address of a cluster."""


def refuse_warnings_as_errors() -> None:
    """Raise UserError if deprecations are errors in all modules: Ray's own libraries warn of some when imported."""
    for option in sys.warnoptions:
        action, _, category, module = [*option.split(":"), "", "", ""][:4]
        everywhere = not module and category in ("", "Warning", "DeprecationWarning")
        if action and "error".startswith(action) and everywhere:
            raise UserError(
                f"with PYTHONWARNINGS={option} (or -W) warnings of Ray's libraries are errors, so that Ray cannot be "
                f"imported; leave it out, or name your own module: {action}::{category}:my_module"
            )


def refuse_other_kinds(address: str, remedy: str) -> None:
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


def _shown(address: str) -> str:
    """Return an address as it may be shown: without a user's name and password."""
    return re.sub(r"//[^/]*@", "//***@", address)


def refuse_silence(address: str, remedy: str) -> None:
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

"""Environment variables of the path from a load actor to a replica: Ray Serve's fastest, for messages of any size."""

from __future__ import annotations

from collections.abc import Mapping

FAST_LOAD: Mapping[str, str] = {
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
}
"""Serve's router runs in the sender's event loop, so that no request changes threads. Ray's own default is 1."""

FAST_REPLICA: Mapping[str, str] = {
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
    "RAY_SERVE_LOG_TO_STDERR": "0",
}
"""The same for the process of a replica; and it writes its log in blocks. Ray's own defaults are all 1."""

_ANY_SIZE = {"RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(2**31 - 1)}
"""Largest message in bytes that a process takes: as much as gRPC can count. Serve's default is 4 MiB, less than one
uncompressed photograph. Each end has its own bound: the replica for requests, the load generator for answers."""

LOAD_MARK = ("RAYTUNE_INFER_LOAD", "1")
"""Environment variable, and its value, by which processes that send load can be told from others' processes."""

_OF_LOAD = {**FAST_LOAD, **_ANY_SIZE, "no_grpc_proxy": "0.0.0.0/0,::/0"}

LOAD_ENVIRONMENT: Mapping[str, str] = {**_OF_LOAD, **dict([LOAD_MARK])}
"""For processes that send load. gRPC asks no proxy for the way to any address, whatever `http_proxy` says: Serve leaves
that to gRPC, unlike Ray's core. Replicas only answer, so a model keeps the proxy for its own downloads."""

REPLICA_ENVIRONMENT: Mapping[str, str] = {**FAST_REPLICA, **_ANY_SIZE}
"""For the processes of replicas, in trials and in an exported config."""

"""Serve's fastest path from a load actor to a replica: what Ray reads from the environment of either process."""

from __future__ import annotations

from collections.abc import Mapping

LOAD_ENVIRONMENT: Mapping[str, str] = {
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
}
"""Of processes that send: the router in the loop of the sender, so that no request changes threads."""

REPLICA_ENVIRONMENT: Mapping[str, str] = {
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
    "RAY_SERVE_LOG_TO_STDERR": "0",
}
"""Of replicas."""

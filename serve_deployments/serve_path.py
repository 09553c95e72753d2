"""Environment variables that give Ray Serve its fastest path from a load actor to a replica."""

from __future__ import annotations

from collections.abc import Mapping

LOAD_ENVIRONMENT: Mapping[str, str] = {
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
}
"""For processes that send load: Serve's router runs in the sender's event loop, so that no request changes threads."""

REPLICA_ENVIRONMENT: Mapping[str, str] = {
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
    "RAY_SERVE_LOG_TO_STDERR": "0",
}
"""For the processes of replicas."""

"""Keeps the port of a replica on loopback where Ray itself is there alone; Serve (2.60) opens it to the network."""

from __future__ import annotations

from typing import Any

import ray
from ray._common.tls_utils import add_port_to_grpc_server
from ray.serve._private import replica as serves_replica


def stay_on_loopback() -> None:
    """Have Serve's server of this process, which it starts after the model's constructor, listen where the node does.

    It unpickles what it is sent, so whoever reaches it without a token, where Ray asks for none, can run code.
    """
    assert hasattr(serves_replica, "add_port_to_grpc_server"), "Serve starts its server in another way"
    host = ray.util.get_node_ip_address()
    if host != "127.0.0.1":
        return  # requests come from other machines too

    def add_port(server: Any, address: str) -> Any:
        return add_port_to_grpc_server(server, f"{host}:{address.rpartition(':')[2]}")

    serves_replica.add_port_to_grpc_server = add_port

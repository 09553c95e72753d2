"""Models with a server on a fixed port, in replicas that stay alive: each is answered by its own."""

import contextlib
import socket
import subprocess
import sys

import pytest

from serve_deployments.models.model import Builder
from serve_deployments.replicas.serve_backend import ServeBackend, delete_left_behind
from serve_deployments.replicas.warm.pool import Pool
from serve_deployments.replicas.warm.warm_backend import WarmBackend
from serve_deployments.settings import Settings

SERVER = """
import socket, sys
port, name = sys.argv[1:]
try:
    server = socket.create_server(("127.0.0.1", int(port)))
except OSError:
    print("taken", flush=True)  # the model does not look at this, as many do not
    sys.exit(1)
print("up", flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(name.encode())
    connection.close()
"""


class Client:
    """Answers what the server on the port answers, whoever started it."""

    def __init__(self, port, name):
        self.port = port
        self.server = subprocess.Popen([sys.executable, "-c", SERVER, str(port), name], stdout=subprocess.PIPE)
        assert self.server.stdout is not None
        self.server.stdout.readline()

    def __call__(self, payloads):
        return [self.ask() for _ in payloads]

    def ask(self):
        with socket.create_connection(("127.0.0.1", self.port)) as connection, connection.makefile() as answer:
            return answer.read()

    def close(self):
        self.server.terminate()
        self.server.wait()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.mark.ray
def test_of_two_replicas_with_a_fixed_port_each_is_answered_by_its_own_server(local_ray):
    from ray import serve

    serve.start(proxy_location="Disabled")
    fresh = ServeBackend(Builder(f"{__name__}:Client"), ["warm"], "port", deadline_s=240, queue_s=60)
    backend, port, answers = WarmBackend(fresh, Pool()), free_port(), []
    try:
        with contextlib.closing(backend):
            for number, name in enumerate(["first", "second", "first"]):
                with backend.running(Settings(args={"port": port, "name": name}), f"t{number}") as replica:
                    answers.append((replica.handle.infer.remote("x").result(timeout_s=60), replica.startup.in_place))
            assert len(backend.pool.idle()) == 2
    finally:
        delete_left_behind("port")
    assert answers == [("first", False), ("second", False), ("first", True)]

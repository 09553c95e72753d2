"""A Prometheus server of the tests' own, from Debian's package: it scrapes one address, and ends with the test."""

import json
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

CONFIG = """\
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: ray
    static_configs: [{targets: ["%s"]}]
"""


def program() -> str | None:
    return shutil.which("prometheus")


@dataclass(frozen=True)
class Prometheus:
    """A server that is up.

    Args:
        port: its port on loopback.
    """

    port: int

    def ask(self, path: str, **query: str) -> Any:
        """Its answer to a call of its HTTP interface."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.port}/api/v1/{path}?{urlencode(query)}", timeout=30
        ) as got:
            answer = json.load(got)
        assert answer["status"] == "success", answer
        return answer["data"]


@contextmanager
def scraping(target: str, program: str, folder: Path) -> Iterator[Prometheus]:
    """A server that scrapes `target` every second from now on."""
    config = folder / "prometheus.yml"
    config.write_text(CONFIG % target)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    # Ended by the kernel if this process is killed before it can do so.
    running = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", program, *words], stderr=subprocess.PIPE, text=True)
    try:
        assert running.stderr is not None
        said = []
        for line in running.stderr:
            said.append(line)
            if "Server is ready to receive web requests" in line:
                break
        else:
            raise RuntimeError("Prometheus did not start: " + "".join(said))
        yield Prometheus(port)
    finally:
        running.terminate()
        running.communicate()

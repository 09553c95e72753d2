"""A PostgreSQL server of the tests' own: the machine's programs, run by an ordinary user in a temporary folder."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Thread

DEBIAN = Path("/usr/lib/postgresql")
"""Where Debian puts the programs of each version, which are not on the path of users."""
NOBODY = "nobody", "nogroup"
"""Who runs the server when tests are root's: PostgreSQL refuses to be run by root."""
READY = "database system is ready to accept connections"


def programs() -> Path | None:
    """The folder of the newest server's programs; None where there is none."""
    of_debian = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parent.parent.name))
    if of_debian:
        return of_debian[-1].parent
    on_path = shutil.which("initdb")
    return None if on_path is None else Path(on_path).resolve().parent


@dataclass(frozen=True)
class Server:
    """One that is up.

    Args:
        programs: its own, and those that talk to it.
        folder: of its data and its socket; it listens to nothing else.
        numbers: of the databases that were made in it.
    """

    programs: Path
    folder: Path
    numbers: Iterator[int]

    @contextmanager
    def database(self) -> Iterator[str]:
        """A new empty database, gone afterwards: its URL."""
        name = f"history_{next(self.numbers)}"
        self.run("createdb", name)
        try:
            yield f"postgresql+psycopg://tests@/{name}?host={self.folder}&port=5432"
        finally:
            self.run("dropdb", "--force", name)

    def run(self, program: str, *words: str, input: str | None = None) -> str:
        """What a program of PostgreSQL says."""
        where = ["--host", str(self.folder), "--port", "5432", "--username", "tests"]
        done = subprocess.run(
            [self.programs / program, *where, *words], input=input, env=environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def server(of: Path) -> Iterator[Server]:
    """A server by the programs of a folder, up from now on and ended afterwards."""
    # In /tmp whatever TMPDIR says: a socket's path is at most 107 bytes, and its user must be able to go there.
    folder = Path(tempfile.mkdtemp(prefix="raytune-infer-postgresql-", dir="/tmp"))
    # Ended by the kernel if this process is killed before it can do so.
    starts = ["setpriv", "--pdeathsig", "INT"]
    if os.getuid() == 0:
        shutil.chown(folder, *NOBODY)
        starts += ["--reuid", NOBODY[0], "--regid", NOBODY[1], "--clear-groups"]
    try:
        makes = [
            str(of / "initdb"), "-D", "data", "-U", "tests", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync",
        ]  # fmt: skip
        made = subprocess.run([*starts, *makes], cwd=folder, env=environment(), capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
        serves = [str(of / "postgres"), "-D", "data", "-k", str(folder), "-p", "5432", "-c", "listen_addresses=", "-F"]
        running = subprocess.Popen([*starts, *serves], cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True)
        try:
            until_ready(running)
            yield Server(of, folder, count(1))
        finally:
            running.send_signal(signal.SIGINT)  # its "fast shutdown"
            running.wait()
    finally:
        shutil.rmtree(folder)


def until_ready(running: subprocess.Popen[str]) -> None:
    assert running.stderr is not None
    said = []
    for line in running.stderr:
        said.append(line)
        if READY in line:
            # What it says from now on is read and forgotten, else it would stop once the pipe is full.
            Thread(target=running.stderr.read, daemon=True).start()
            return
    raise RuntimeError("PostgreSQL did not start: " + "".join(said))


def environment() -> dict[str, str]:
    """Of its programs: nothing of another server, and English."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}

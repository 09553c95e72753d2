"""A report in a browser while its study runs: a server on loopback that reads the store and changes nothing."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from raytune_infer.errors import UserError
from raytune_infer.report.renderers.html.html_view import body, drawn
from raytune_infer.report.renderers.html.page import page
from raytune_infer.report.view import Note, View
from raytune_infer.report.whole.run_facts import RunFacts, read_facts
from raytune_infer.report.whole.whole_report import whole_report

_OURS = ("127.0.0.1", "localhost")
"""Names by which this server is asked. Another name that leads here is a page elsewhere that would read the run."""


@dataclass
class Watched:
    """What is shown of a run, made anew only when the run has changed.

    Args:
        read: returns the run as it is now; raises UserError if there is none yet, or it cannot be read.
    """

    read: Callable[[], RunFacts]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _shown: tuple[str, View] = ("", View())

    def now(self) -> tuple[str, View]:
        """Return the present version and its view; of several that ask at once, one makes it for all."""
        with self._lock:
            try:
                facts = self.read()
                version, make = _version(facts), lambda: whole_report(facts)
            except UserError as error:
                said = str(error)
                version, make = _digest(said), lambda: View("No report yet", notes=(Note(said, "warning"),))
            if version != self._shown[0]:
                self._shown = version, make()
            return self._shown


def _version(facts: RunFacts) -> str:
    """Return what changes when the run does: its trials, whether one is under way, and whether it is over."""
    trials = [(t.number, t.purpose) for t in facts.trials]
    return _digest(repr((facts.study.id, facts.study.trials, trials, facts.unfinished, facts.run.concluded)))


def _digest(words: str) -> str:
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def serving(run: Path, db: str | None = None, port: int = 0) -> ThreadingHTTPServer:
    """Return a server of a run's report on loopback, which does not serve yet.

    Args:
        run: the run's folder, which need not be there yet.
        db: URL of the database that the run was started with; None for the one in its folder.
        port: the port; 0 for a free one.

    Raises:
        UserError: the port is taken, or may not be used.
    """
    watched = Watched(lambda: read_facts(run, db))
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), _handler(watched))
    except OSError as error:
        raise UserError(f"--port {port}: {error.strerror}; choose another one, or leave it out") from None


def _handler(watched: Watched) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers who asks this machine by its own name, and only for the report."""

        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            if (self.headers.get("Host") or "").rpartition(":")[0] not in _OURS:
                self._answer(403, "text/plain", "this report is shown only at 127.0.0.1 and localhost\n")
            elif asked.path == "/":
                version, view = watched.now()
                self._answer(200, "text/html", page(view.title, body(view), drawn(view), version=version))
            elif asked.path == "/content":
                self._answer(200, "application/json", _content(watched, parse_qs(asked.query).get("version", [""])[0]))
            else:
                self._answer(404, "text/plain", "there is only the report, at /\n")

        def _answer(self, status: int, kind: str, text: str) -> None:
            data = text.encode()
            self.send_response(status)
            for name, value in (
                ("Content-Type", f"{kind}; charset=utf-8"), ("Content-Length", str(len(data))),
                ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"),
                ("Content-Security-Policy", "frame-ancestors 'none'"),
            ):  # fmt: skip
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: a browser asks every two seconds."""

    return Handler


def _content(watched: Watched, known: str) -> str:
    """Return the present content as JSON, or its version alone if it is the one that is known."""
    version, view = watched.now()
    if version == known:
        return json.dumps({"version": version})
    return json.dumps({"version": version, "title": view.title, "body": body(view), "drawn": drawn(view)})

"""A report in a browser while its study runs: a server on loopback that reads the store and changes nothing."""

from __future__ import annotations

import hashlib
import json
import sys
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
                version, make = _version(facts), lambda: _made(facts)
            except Exception as error:
                failed = _no_report(error)
                version, make = _digest(repr(failed)), lambda: failed
            if version != self._shown[0]:
                self._shown = version, make()
            return self._shown


def _made(facts: RunFacts) -> View:
    """Return the report of a run, or why there is none: it is not tried again before the run changes."""
    try:
        return whole_report(facts)
    except Exception as error:
        return _no_report(error)


def _no_report(error: Exception) -> View:
    """Return what a page shows in place of a report that could not be made, whatever the reason."""
    if isinstance(error, UserError):
        return View("No report yet", notes=(Note(str(error), "warning"),))
    said = f"{_words(error)}; it is made anew when the run changes"
    return View("No report", notes=(Note(said, "failure"),))


def _words(error: Exception) -> str:
    return f"the report could not be made: {type(error).__name__}: {error}"


def _version(facts: RunFacts) -> str:
    """Return what changes when the run does: which one it is, its trials, what is under way, and whether it is over.

    Another run in the same place may have as many trials: what they found tells it apart.
    """
    trials = [(t.number, t.purpose, t.config, t.value, t.seconds, t.metrics) for t in facts.trials]
    study, left = facts.study, facts.comparing.left
    return _digest(repr((
        study.id, study.created_at, study.spec, study.trials, trials, facts.unfinished, left, facts.run.concluded
    )))  # fmt: skip


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
        return _Server(("127.0.0.1", port), _handler(watched))
    except OSError as error:
        raise UserError(f"--port {port}: {error.strerror}; choose another one, or leave it out") from None


class _Server(ThreadingHTTPServer):
    """A server that says nothing of a tab that was closed while it was answered."""

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def _is_ours(host: str) -> bool:
    """Whether a `Host` names this machine; at port 80 a browser leaves the port out."""
    try:
        return urlsplit(f"//{host}").hostname in _OURS
    except ValueError:
        return False


def _handler(watched: Watched) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers who asks this machine by its own name, and only for the report."""

        def do_GET(self) -> None:
            if not _is_ours(self.headers.get("Host") or ""):
                self._answer(403, "text/plain", "this report is shown only at 127.0.0.1 and localhost\n")
                return
            try:
                found = _found(watched, self.path)
            except Exception as error:
                self._answer(500, "text/plain", f"{error if isinstance(error, UserError) else _words(error)}\n")
                return
            self._answer(*found)

        do_HEAD = do_GET

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
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: a browser asks every two seconds."""

    return Handler


def _found(watched: Watched, path: str) -> tuple[int, str, str]:
    """Return the status, the kind and the text of what is at a path."""
    asked = urlsplit(path)
    if asked.path == "/":
        version, view = watched.now()
        return 200, "text/html", page(view.title, body(view), drawn(view), version=version)
    if asked.path == "/content":
        return 200, "application/json", _content(watched, parse_qs(asked.query).get("version", [""])[0])
    return 404, "text/plain", "there is only the report, at /\n"


def _content(watched: Watched, known: str) -> str:
    """Return the present content as JSON, or its version alone if it is the one that is known."""
    version, view = watched.now()
    if version == known:
        return json.dumps({"version": version})
    return json.dumps({"version": version, "title": view.title, "body": body(view), "drawn": drawn(view)})

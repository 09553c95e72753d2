"""A report that is watched: of a run that is not there yet, that grows, and for those on this machine alone."""

import json
import socket
import struct
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from http.client import HTTPConnection

import pytest

from raytune_infer.errors import RunError, UserError
from raytune_infer.report.whole.output import watching
from raytune_infer.report.whole.output.watching import Watched, serving
from tests.raytune_infer.ranking.measured_runs import CONFIGS, write_run
from tests.raytune_infer.report.every_view import facts


@contextmanager
def watched(run):
    server = serving(run)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def asked(port, path="/", method="GET", **headers):
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), answer.headers


def content(port, version=""):
    return json.loads(asked(port, f"/content?version={version}")[1])


def test_a_run_that_is_not_there_yet_is_told_and_then_shown(tmp_path):
    with watched(tmp_path / "run") as port:
        status, page, _ = asked(port)
        assert status == 200 and "No report yet" in page and "no run in" in page
        before = content(port)
        assert content(port, before["version"]) == {"version": before["version"]}
        write_run(tmp_path / "run", configs=CONFIGS[:1])
        after = content(port, before["version"])
        assert after["title"] == "fake" and "All trials" in after["body"] and after["drawn"]
        # A second tab sees the same.
        assert content(port) == after


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:8000"])
def test_a_browser_at_port_80_or_in_capitals_is_answered(tmp_path, host):
    with watched(tmp_path / "run") as port:
        assert asked(port, Host=host)[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example:80", "[", ""])
def test_who_comes_by_another_name_is_refused(tmp_path, host):
    with watched(tmp_path / "run") as port:
        assert asked(port, Host=host)[0] == 403
        assert asked(port, "/content", Host=host)[0] == 403
        assert asked(port, Host=f"localhost:{port}")[0] == 200


def test_there_is_nothing_but_the_report_and_nothing_is_changed(tmp_path):
    with watched(tmp_path / "run") as port:
        assert asked(port, "/../run.json")[0] == 404
        assert asked(port, method="HEAD")[:2] == (200, "")
        assert asked(port, method="POST")[0] == asked(port, method="DELETE")[0] == 501
        _, page, headers = asked(port)
        assert headers["Content-Security-Policy"] == "frame-ancestors 'none'" and headers["Cache-Control"] == "no-store"
        assert "connect-src 'self'" in page and "default-src 'none'" in page
        with pytest.raises(UserError, match=f"--port {port}: Address already in use"):
            serving(tmp_path / "run", port=port)


def test_a_view_is_made_anew_only_when_the_run_has_changed():
    states = [facts(), facts(), replace(facts(), trials=facts().trials[:3]), replace(facts(), unfinished=True)]
    source = iter([*states, RunError("the database is gone"), facts()])
    seen = Watched(lambda: _next(source))
    first, again, fewer, running, gone, back = (seen.now() for _ in range(6))
    assert first[1] is again[1]
    assert len({first[0], fewer[0], running[0], gone[0]}) == 4 and back[0] == first[0]
    assert [note.text for note in gone[1].notes] == ["the database is gone"]


def test_another_run_of_the_same_shape_in_its_place_is_another_version():
    first = facts()
    later = replace(first, study=replace(first.study, created_at=first.study.created_at + timedelta(seconds=1)))
    [one, *rest] = first.trials
    slower = replace(first, trials=(replace(one, outcome=metrics_of(one, rps=one.metrics["rps"] / 2)), *rest))
    source = iter([first, later, slower])
    seen = Watched(lambda: next(source))
    assert len({seen.now()[0] for _ in range(3)}) == 3


def test_what_goes_wrong_in_making_the_report_is_told_on_the_page_until_the_run_changes():
    broken = replace(facts(), trials=(replace(facts().trials[0], config=None),))
    source = iter([broken, broken, ZeroDivisionError("by nothing"), facts()])
    seen = Watched(lambda: _next(source))
    made, again, read, back = (seen.now() for _ in range(4))
    assert made is again and made[1].notes[0].text.startswith("the report could not be made: ")
    assert "ZeroDivisionError: by nothing" in read[1].notes[0].text
    assert back[1].title == facts().study.name


def test_a_page_that_cannot_be_drawn_is_answered_in_words(tmp_path, monkeypatch):
    """Such as without plotly: the command that serves it has not ended."""

    def missing(*_args, **_more):
        raise UserError("charts on a page need plotly: pip install plotly")

    monkeypatch.setattr(watching, "page", missing)
    with watched(tmp_path / "run") as port:
        assert asked(port)[:2] == (500, "charts on a page need plotly: pip install plotly\n")


def test_a_tab_that_is_closed_while_it_is_answered_is_no_fault(tmp_path, capfd, monkeypatch):
    begun, closed = threading.Event(), threading.Event()

    def slowly(*_args, **_more):
        begun.set()
        assert closed.wait(60)
        return "x" * 50_000_000

    monkeypatch.setattr(watching, "page", slowly)
    with watched(tmp_path / "run") as port:
        tab = socket.create_connection(("127.0.0.1", port))
        tab.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert begun.wait(60)
        tab.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it is reset, not ended
        tab.close()
        answering = [each for each in threading.enumerate() if "process_request" in each.name]
        closed.set()
        for each in answering:
            each.join()
    assert capfd.readouterr().err == ""


def metrics_of(trial, **metrics):
    return replace(trial.outcome, metrics={**trial.metrics, **metrics})


def _next(source):
    found = next(source)
    if isinstance(found, Exception):
        raise found
    return found

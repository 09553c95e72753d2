"""A report that is watched: of a run that is not there yet, that grows, and for those on this machine alone."""

import json
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection

import pytest

from raytune_infer.errors import RunError, UserError
from raytune_infer.report.whole.watching import Watched, serving
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


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example:80", ""])
def test_who_comes_by_another_name_is_refused(tmp_path, host):
    with watched(tmp_path / "run") as port:
        assert asked(port, Host=host)[0] == 403
        assert asked(port, "/content", Host=host)[0] == 403
        assert asked(port, Host=f"localhost:{port}")[0] == 200


def test_there_is_nothing_but_the_report_and_nothing_is_changed(tmp_path):
    with watched(tmp_path / "run") as port:
        assert asked(port, "/../run.json")[0] == 404
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


def _next(source):
    found = next(source)
    if isinstance(found, Exception):
        raise found
    return found

"""The exported application of each kind of sample, asked over HTTP as a client would; the server is uvicorn, as in
Serve, but there is no Ray."""

import asyncio
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.routing import Route

from raytune_infer.report.export.serve_config import serve_config
from raytune_infer.spec.service import Service
from raytune_infer.spec.service_spec import load_spec
from serve_deployments.replicas.application import application
from serve_deployments.replicas.replica import ReplicaServer
from serve_deployments.settings import Settings
from tests.repository import ROOT

JSON, NPY, TEXT, OCTETS = "application/json", "application/x-npy", "text/plain", "application/octet-stream"
EMULATED = Settings(emulated=True, max_batch_size=4)  # so that nothing is pinned: it runs in the tests' own process


def build():
    """A model that says what it was given, and gives back what it is asked for."""

    def answer(payloads):
        return [one(payload) for payload in payloads]

    def one(payload):
        if isinstance(payload, np.ndarray):
            return payload * 2
        if isinstance(payload, dict):
            if "raise" in payload:
                raise ValueError(payload["raise"])
            return object() if "odd" in payload else payload
        return payload

    return answer


SAMPLES: dict[str, Any] = {
    "rows.npy": np.arange(6, dtype=np.float32).reshape(2, 3),
    "mappings.jsonl": '{"text": "a", "n": 1}\n{"text": "b", "n": 2}\n',
    "texts.txt": "a text\nanother\n",
    "photos": {"1.png": b"\x89PNG\r\n\x1a\n", "2.bin": bytes(range(256))},
    "numbers.json": "[1, 2.5]",
}


def write(folder, name, content):
    if isinstance(content, np.ndarray):
        np.save(folder / name, content)
    elif isinstance(content, str):
        (folder / name).write_text(content)
    else:
        (folder / name).mkdir()
        for file, data in content.items():
            (folder / name / file).write_bytes(data)


def exported(folder, name):
    """The arguments of the application that a study with these samples exports, and its samples."""
    path = folder / f"{name}.yaml"
    path.write_text(
        f"name: demo\nmodel: {{build: '{__name__}:build'}}\nsamples: {name}\nknobs: {{max_batch_size: [4]}}\n"
        "objective: {maximize: rps}\n"
    )
    spec = load_spec(path)
    service = Service(spec)
    config = serve_config(spec, EMULATED, service.payload_type)
    [app] = yaml.safe_load(config)["applications"]
    return app["args"], service.samples


async def replica_of(args):
    bound = application(args)._bound_deployment
    server: Any = object.__new__(ReplicaServer)
    await server.__init__(*bound.init_args, **bound.init_kwargs)
    return server


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The port of a server with a route for each kind of samples, and the samples of each."""
    folder, here, found_in = tmp_path_factory.mktemp("services"), Path.cwd(), list(sys.path)
    for name, content in SAMPLES.items():
        write(folder, name, content)
    made = {name: exported(folder, name) for name in SAMPLES}
    replicas = {}

    @asynccontextmanager
    async def lifespan(app):
        for name, (args, _) in made.items():
            replicas[name] = await replica_of(args)
        yield

    async def ask(request):
        return await replicas[request.path_params["name"]](request)

    routes = [Route("/{name}", ask, methods=["GET", "POST"])]
    config = uvicorn.Config(Starlette(routes=routes, lifespan=lifespan), port=0, log_level="error")
    server = uvicorn.Server(config)
    started = threading.Event()

    async def run():
        with config.bind_socket() as socket:
            port.append(socket.getsockname()[1])
            socket.listen()  # from now on connections wait until the server accepts them
            started.set()
            await server.serve([socket])

    port: list[int] = []
    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    started.wait()
    yield port[0], {name: samples for name, (_, samples) in made.items()}
    server.should_exit = True
    thread.join()
    os.chdir(here)  # replicas go to the folder of their service
    sys.path[:] = found_in


def posted(served, name, body, content_type=JSON, accept="*/*", method="POST", encoding="identity"):
    """Status, media type and body of an answer."""
    headers = {"Content-Type": content_type, "Accept": accept, "Content-Encoding": encoding}
    request = urllib.request.Request(f"http://127.0.0.1:{served[0]}/{name}", body, headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return answer.status, answer.headers.get_content_type(), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get_content_type(), error.read()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_arrays_arrive_as_arrays_and_come_back_as_lists(served):
    for row in served[1]["rows.npy"]:
        for body, content_type in (
            (json.dumps(row.tolist()).encode(), JSON), (npy(row), NPY), (npy(row), OCTETS),
            (json.dumps(row.tolist()).encode(), "application/x-www-form-urlencoded"),
        ):  # fmt: skip
            status, media, body = posted(served, "rows.npy", body, content_type)
            assert (status, media, json.loads(body)) == (200, JSON, (row * 2).tolist())


def test_mappings_and_numbers_arrive_as_they_are(served):
    for name in ("mappings.jsonl", "numbers.json"):
        for sample in served[1][name]:
            status, media, body = posted(served, name, json.dumps(sample).encode())
            assert (status, media, json.loads(body)) == (200, JSON, sample)


def test_texts_arrive_as_texts(served):
    for sample in served[1]["texts.txt"]:
        for body, content_type in ((json.dumps(sample).encode(), JSON), (sample.encode(), TEXT)):
            status, media, body = posted(served, "texts.txt", body, content_type)
            assert (status, media, json.loads(body)) == (200, JSON, sample)


def test_files_arrive_as_their_bytes_and_bytes_come_back(served):
    assert served[1]["photos"] == list(SAMPLES["photos"].values())
    for sample in served[1]["photos"]:
        assert posted(served, "photos", sample, "image/png") == (200, OCTETS, sample)


def test_a_client_that_asks_for_an_array_gets_one(served):
    for row in served[1]["rows.npy"]:
        status, media, body = posted(served, "rows.npy", json.dumps(row.tolist()).encode(), accept=NPY)
        array = np.load(io.BytesIO(body))
        assert (status, media, array.dtype, array.shape) == (200, NPY, row.dtype, row.shape)
        np.testing.assert_array_equal(array, row * 2)
    status, media, body = posted(served, "numbers.json", b"2.5", accept=NPY)
    assert (status, media, np.load(io.BytesIO(body)).item()) == (200, NPY, 2.5)


@pytest.mark.parametrize(
    ("name", "body", "status", "said"),
    [
        ("mappings.jsonl", b'{"raise": "no such [/INST]"}', 500, "ValueError: no such [/INST]"),
        ("mappings.jsonl", b'{"raise": "cut \\ud83d"}', 500, "ValueError: cut ?"),
        ("mappings.jsonl", b'{"odd": 1}', 500, "the result has a value of type object, which JSON does not have"),
        ("mappings.jsonl", b"{", 400, "the body must be the payload: it is not JSON"),
        ("rows.npy", b"[1, 2]", 400, "the body must be the payload: it has shape [2], and the samples had [3]"),
    ],
)
def test_an_error_is_an_answer_with_its_words(served, name, body, status, said):
    found, media, answer = posted(served, name, body)
    assert (found, media) == (status, JSON) and json.loads(answer)["error"].startswith(said)


def test_a_picture_sent_to_a_service_of_arrays_is_the_clients_mistake(served):
    for content_type in ("image/png", OCTETS, NPY):
        status, media, answer = posted(served, "rows.npy", b"\x89PNG\r\n\x1a\n\0", content_type)
        said = json.loads(answer)["error"]
        assert (status, media) == (400, JSON) and said.startswith("the body must be the payload: ")
        assert NPY in said or ".npy" in said


def test_a_compressed_body_is_not_taken_for_the_payload(served):
    for name in SAMPLES:
        status, _, answer = posted(served, name, gzip.compress(b"[1, 2, 3]"), encoding="gzip")
        assert (status, "it is compressed (gzip); send it as it is" in json.loads(answer)["error"]) == (400, True)


def test_only_a_post_has_a_payload(served):
    status, media, body = posted(served, "texts.txt", None, method="GET")
    assert (status, json.loads(body)) == (405, {"error": "send the payload as the body of a POST request"})


DESCRIBED = {
    "Mappings, numbers, lists": ("mappings.jsonl", ['{"text":"a","n":1}']),
    "Texts": ("texts.txt", ['"a text"', '"a text"']),
    "Arrays": ("rows.npy", ["[2.0,4.0,6.0]", "[2.0,2.0,2.0]"]),
    "Images, audio and other files": ("photos", ["PNG of the photo"]),
}
"""Heading in docs/calling.md → the samples that its service has, and what its curl commands answer."""


def described(heading, language):
    """The text of the fenced blocks of this language below a heading."""
    section = (ROOT / "docs" / "calling.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL))


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("heading", DESCRIBED)
def test_the_commands_of_the_page_work(served, tmp_path, heading):
    name, wanted = DESCRIBED[heading]
    (tmp_path / "photo.png").write_text("PNG of the photo")
    commands = described(heading, "bash").replace("http://127.0.0.1:8000/", f"http://127.0.0.1:{served[0]}/{name}")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    told = subprocess.run(
        ["bash", "-ec", commands.replace("curl ", "curl --noproxy '*' -sSw '\\n' ")],
        cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    assert told.stdout.splitlines() == wanted, told.stderr


def test_the_python_of_the_page_works(served, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    code = described("Arrays", "python").replace(":8000/", f":{served[0]}/rows.npy")
    names: dict[str, Any] = {}
    exec(code, names)
    array = np.array([1, 2, 3], np.float32)
    np.testing.assert_array_equal(names["predict"](array), array * 2)

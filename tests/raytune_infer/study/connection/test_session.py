"""How a session joins or starts a Ray: what Ray is given, what its workers find, and whose environment is touched."""

import os
import tempfile
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import ray

import raytune_infer
from raytune_infer.errors import UserError
from raytune_infer.study.connection import session, worker_environment

NICENESS = "RAY_worker_niceness"


class Ray:
    """What of Ray a session calls, and with what.

    Args:
        fails: called at each start; raises what it is to fail with.
    """

    def __init__(self, fails: Callable[[], None] = lambda: None) -> None:
        self.fails = fails
        self.given: list[dict[str, Any]] = []
        self.niceness: list[str | None] = []
        self.closed: list[bool] = []
        self.folders: list[tuple[Path, list[Path]]] = []
        self.is_closed = False
        self.ends = 0

    @contextmanager
    def closed_ray(self):
        self.is_closed = True
        yield
        self.is_closed = False

    def init(self, **options: Any) -> None:
        self.given.append(options)
        self.niceness.append(os.environ.get(NICENESS))
        self.closed.append(self.is_closed)
        sent = Path(options["runtime_env"].get("working_dir", "."))
        self.folders.append((Path.cwd(), sorted(path.relative_to(sent) for path in sent.rglob("*"))))
        self.fails()

    def shutdown(self) -> None:
        self.ends += 1


@pytest.fixture
def instead(monkeypatch) -> Ray:
    found = Ray()
    monkeypatch.setattr(session, "closed_ray", found.closed_ray)
    monkeypatch.setattr(ray, "init", found.init)
    monkeypatch.setattr(ray, "shutdown", found.shutdown)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    for variable in ("RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR", "PYTHONPATH", NICENESS):
        monkeypatch.delenv(variable, raising=False)
    return found


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """That of service.yaml; the command is run in another."""
    for name in ("service", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "service"


def joined(folder: Path, address: str | None = None, emulate: str | None = None, *, runs_code: bool = True) -> None:
    session.check_session(address=address, emulate=emulate)
    with session.ray_session(address=address, emulate=emulate, folder=folder, runs_code=runs_code):
        pass


def test_workers_of_a_ray_of_our_own_do_not_yield_to_others(instead, folder, monkeypatch):
    joined(folder)
    monkeypatch.setenv(NICENESS, "7")
    joined(folder)
    assert instead.niceness == ["0", "7"] and os.environ[NICENESS] == "7"
    monkeypatch.delenv(NICENESS)
    joined(folder, address="auto")
    assert instead.niceness[2:] == [None] and NICENESS not in os.environ


@pytest.mark.parametrize(("length", "instead_of_it"), [(39, None), (40, "/tmp"), (60, "/tmp")])
def test_a_temporary_folder_whose_name_is_too_long_for_a_socket_is_not_rays(
    instead, folder, monkeypatch, length, instead_of_it
):
    """Schedulers of clusters give each job its own, deep down."""
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", "/" + "x" * (length - 1))
    monkeypatch.setattr(worker_environment, "sent_folder", lambda folder, below: nullcontext(folder))
    seen = []
    instead.fails = lambda: seen.append(os.environ.get("RAY_TMPDIR"))
    joined(folder)
    joined(folder, address="auto")
    monkeypatch.setenv("RAY_TMPDIR", "/mine")
    joined(folder)
    assert seen == [instead_of_it, None, "/mine"]


def test_a_folder_that_is_too_long_all_the_same_is_a_sentence(instead, folder):
    def too_long() -> None:
        raise OSError("validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes: /mine/ray/…")

    instead.fails = too_long
    with pytest.raises(UserError, match="cannot start Ray on this machine: .* cannot exceed 107 bytes"):
        joined(folder)


def test_a_ray_of_our_own_has_the_cores_that_this_process_may_use_and_workers_find_the_same_modules(
    instead, folder, monkeypatch
):
    monkeypatch.setattr(session, "machine_cores", lambda: {0, 3, 5})
    joined(folder)
    monkeypatch.setenv("PYTHONPATH", "/first:/second")
    joined(folder)
    joined(Path.cwd())
    for given in instead.given:
        assert (given["address"], given["num_cpus"], given["include_dashboard"]) == ("local", 3, False)
        assert given["log_to_driver"] is False
    # service.yaml's folder first, as `Service` puts it before all others here.
    here = Path.cwd()
    assert [given["runtime_env"] for given in instead.given] == [
        {"env_vars": {"PYTHONPATH": paths}}
        for paths in (f"{folder}:{here}", f"{folder}:{here}:/first:/second", f"{here}:/first:/second")
    ]
    assert instead.ends == 3


def test_nodes_elsewhere_get_our_packages_and_the_folder_of_service_yaml(instead, folder, monkeypatch):
    for name in ("model.py", ".env"):
        (folder / name).touch()
    joined(folder, address="auto")
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    joined(folder)
    root = Path(raytune_infer.__file__).parents[1]
    packages = [str(root / name) for name in ("raytune_infer", "searchers", "serve_deployments", "cluster")]
    for given, (_, sent) in zip(instead.given, instead.folders, strict=True):
        assert given["address"] == "auto" and "num_cpus" not in given and "include_dashboard" not in given
        assert given["runtime_env"].keys() == {"py_modules", "working_dir"}
        assert given["runtime_env"]["py_modules"] == packages and sent == [Path("model.py")]
    # A job that was submitted has an environment, and a second one would contradict it.
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    joined(folder)
    assert instead.given[2]["runtime_env"] == {} and len(instead.given) == instead.ends == 3


@pytest.mark.parametrize("ignored", ["my/model.py", "my/", "*.py"])
def test_a_module_that_would_not_be_sent_is_refused_at_once_on_a_cluster(instead, folder, ignored):
    """On a node it would be `No module named …`, from each replica."""
    (folder / "my").mkdir()
    (folder / "my" / "model.py").touch()

    def begun(address: str | None, *modules: str) -> None:
        with session.ray_session(address=address, emulate=None, folder=folder, runs_code=True, modules=modules):
            pass

    begun("auto", "my.model", "installed.elsewhere")
    (folder / ".gitignore").write_text(f"{ignored}\n")
    begun(None, "my.model")
    with pytest.raises(UserError, match=r"my/model\.py is not sent to the nodes of the cluster, as a \.gitignore"):
        begun("auto", "my.model")
    assert len(instead.given) == 2


def test_a_service_without_code_of_its_own_has_no_module_imported_from_its_folder_or_ours(instead, folder, monkeypatch):
    """A file there with the name of a library would run in its place, in every process of the study."""
    (folder / "numpy.py").touch()
    here, ours = Path.cwd(), str(Path(raytune_infer.__file__).parents[1])
    for emulate in (None, "T4:1"):
        monkeypatch.setattr(session, "emulated_cluster", lambda nodes: nullcontext("127.0.0.1:6789"))
        joined(folder, emulate=emulate, runs_code=False)
    monkeypatch.setenv("PYTHONPATH", "/first")
    joined(folder, runs_code=False)
    for given, (working_in, _) in zip(instead.given, instead.folders, strict=True):
        paths = given["runtime_env"].get("env_vars", {}).get("PYTHONPATH", "").split(os.pathsep)
        assert set(paths) <= {ours, "/first", ""}
        assert working_in not in (here, folder) and not working_in.exists(), "Ray has workers look there first"
    assert "/first" in paths and Path.cwd() == here
    # On other machines Ray has workers look in the folder that was sent.
    joined(folder, address="auto", runs_code=False)
    assert instead.folders[-1][1] == [Path("service"), Path("service/numpy.py")]


def test_only_a_ray_of_our_own_is_closed_to_others(instead, folder, monkeypatch):
    monkeypatch.setattr(session, "emulated_cluster", lambda nodes: nullcontext("127.0.0.1:6789"))
    joined(folder)
    joined(folder, emulate="T4:1")
    joined(folder, address="auto")
    assert instead.closed == [True, True, False] and not instead.is_closed


def test_an_emulated_cluster_is_started_joined_and_stopped_even_beside_another_address(instead, folder, monkeypatch):
    happened: list[Any] = []

    @contextmanager
    def emulated_cluster(nodes: str):
        happened.append((nodes, os.environ.get(NICENESS)))
        yield "127.0.0.1:6789"
        happened.append(f"over, {instead.ends} left")

    monkeypatch.setattr(session, "emulated_cluster", emulated_cluster)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    joined(folder, emulate="T4:1")
    [given] = instead.given
    assert given["address"] == "127.0.0.1:6789" and "num_cpus" not in given
    assert given["runtime_env"] == {"env_vars": {"PYTHONPATH": f"{folder}:{Path.cwd()}"}}
    assert happened == [("T4:1", "0"), "over, 1 left"]


def test_a_connection_that_was_there_is_used_and_kept(instead, folder, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    joined(folder)
    joined(folder, address="127.0.0.1:1")
    assert instead.given == [] and instead.ends == 0
    with pytest.raises(
        UserError, match="^--emulate starts its own local cluster, so it cannot be combined with --address or a"
    ):
        joined(folder, emulate="T4:1")


@pytest.mark.parametrize("address", [None, "auto"])
def test_what_breaks_inside_leaves_ray_all_the_same_and_is_told_as_it_is(instead, folder, address):
    # Ray's own errors of a session that is under way are not errors of joining it.
    for error in (KeyboardInterrupt(), RuntimeError("mine"), ConnectionError("mine")):
        before = instead.ends
        with pytest.raises(type(error)) as raised:
            with session.ray_session(address=address, emulate=None, folder=folder):
                raise error
        assert raised.value is error and instead.ends == before + 1


JOIN = (
    "cannot connect to the Ray cluster at 'auto': {}; the folder of service.yaml is sent to the nodes, so keep big "
    "files elsewhere, on a path that every node has"
)
NONE = (
    "no Ray cluster at 'auto' ({}); start one with `export RAY_AUTH_MODE=token RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0; "
    "ray start --head`, or leave --address out to use this machine"
)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ConnectionError("Could not find any running Ray instance.\nPlease specify"), NONE.format(
            "Could not find any running Ray instance."
        )),
        (ConnectionRefusedError(), NONE.format("ConnectionRefusedError()")),
        (RuntimeError("\nVersion mismatch: 3.11 and 3.12\nmore"), JOIN.format("Version mismatch: 3.11 and 3.12")),
        (ValueError("Package is 600 MiB, too big"), JOIN.format("Package is 600 MiB, too big")),
        (RuntimeError(), JOIN.format("RuntimeError()")),
    ],
)  # fmt: skip
def test_a_cluster_that_cannot_be_joined_is_one_sentence(instead, folder, error, sentence):
    def fails() -> None:
        raise error

    instead.fails = fails
    with pytest.raises(UserError) as raised:
        joined(folder, address="auto")
    assert str(raised.value) == sentence and len(instead.given) == 1


def test_only_where_a_folder_is_sent_it_may_be_too_big(instead, folder, monkeypatch):
    def fails() -> None:
        raise ValueError("The configured object store size (1.0 GB) exceeds\nthe optimal size")

    instead.fails = fails
    with pytest.raises(UserError) as raised:
        joined(folder)
    assert str(raised.value) == "cannot start Ray on this machine: The configured object store size (1.0 GB) exceeds"
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(UserError) as raised:
        joined(folder, address="auto")
    assert str(raised.value).endswith("cluster at 'auto': The configured object store size (1.0 GB) exceeds")


def test_a_ray_that_does_not_start_in_time_is_tried_again_then_a_sentence_and_another_error_is_not_hidden(
    instead, folder
):
    said = ["The current node timed out during startup. This could happen because ..."]

    def fails() -> None:
        if len(instead.given) % 4:
            raise Exception(said[0])

    instead.fails = fails
    with pytest.raises(UserError, match="^Ray did not start within 30 s in any of 3 attempts"):
        joined(folder)
    assert len(instead.given) == instead.ends == 3  # what was half started is taken down
    joined(folder)
    assert len(instead.given) == 4 and instead.given[3] == instead.given[0]
    said[0] = "another"
    with pytest.raises(Exception, match="^another$") as raised:
        joined(folder)
    assert raised.type is Exception and len(instead.given) == 5

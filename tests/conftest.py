"""What every package's tests share."""

import fcntl
import gc
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import hypothesis
import pytest

# A machine that is busy elsewhere stalls a test; how long one may take is for pytest's own limit. Examples are the same
# each time, so that what is red is so by what was changed; `pytest --hypothesis-profile=exploring` tries others.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("exploring", deadline=None, max_examples=1000)
hypothesis.settings.load_profile("repeatable")

# What is printed is compared, so no colours and no terminal; what listens here is asked without going round by a proxy;
# nobody else's cluster or repository (a git hook names its own) is worked in.
SET_ELSEWHERE = (
    "FORCE_COLOR", "CLICOLOR_FORCE", "PY_COLORS", "TTY_COMPATIBLE", "GITHUB_ACTIONS", "PYTEST_ADDOPTS",
    "RAY_ADDRESS", "RAY_NAMESPACE", "RAY_JOB_CONFIG_JSON_ENV_VAR",
)  # fmt: skip
for name in [name for name in os.environ if name in SET_ELSEWHERE or name.startswith("GIT_")]:
    del os.environ[name]
os.environ |= {"NO_COLOR": "1", "no_proxy": "127.0.0.1,localhost", "NO_PROXY": "127.0.0.1,localhost"}

STUDIES = ("raytune_infer/", "docs/")
"""Under tests/: where Ray tests are those of whole studies. All others, wherever they are, are the other part."""
NAMES_RAY = re.compile(r"\b(local_ray|ray_starts_alone|mark\.ray)\b")
"""What a file has somewhere whose tests use Ray."""

UNFREEZE = gc.unfreeze


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--part", choices=["studies", "others"], help="only this part of the tests that use Ray")


def part(path: Path) -> str:
    """Of the two parts that the tests with Ray are run in, side by side, the one that a file belongs to."""
    return "studies" if path.relative_to(Path(__file__).parent).as_posix().startswith(STUDIES) else "others"


def names_ray(path: Path) -> bool:
    """Whether a file of tests says that it uses Ray, by a mark or a fixture of this file."""
    return NAMES_RAY.search(path.read_text(encoding="utf-8")) is not None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Of a part, only files are imported that can have its tests: all files take longer than to start a Ray."""
    wanted = config.getoption("part")
    if not wanted or collection_path.suffix != ".py":
        return None
    return part(collection_path) != wanted or not names_ray(collection_path) or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Seen by the tests that compute, whose files are all imported.
    hidden = {item.path for item in items if item.get_closest_marker("ray") and not names_ray(item.path)}
    if hidden:
        raise pytest.UsageError(f"no part runs the Ray tests of {', '.join(map(str, sorted(hidden)))}; mark them there")
    # The shared cluster lasts to the end of the session, so those that start their own, or none, come before it.
    items.sort(key=lambda item: "local_ray" in getattr(item, "fixturenames", ()))


def pytest_collection_finish(session: pytest.Session) -> None:
    """What has been imported stays, so that no collection of garbage in a test need go through all of it."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def imported_stays_set_aside() -> Iterator[None]:
    """Nor is it put back by the product's own calls: to collect what all tests import takes half a second each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "unfreeze", lambda: None)
        yield


@pytest.fixture
def real_unfreeze(imported_stays_set_aside: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For a test of what is collected: `gc.unfreeze` as it is, and everything set aside again afterwards."""
    monkeypatch.setattr(gc, "unfreeze", UNFREEZE)
    yield
    gc.freeze()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Tests that use Ray say so: they wait for it, beside those that compute (see Makefile)."""
    if "local_ray" in getattr(item, "fixturenames", ()):
        item.add_marker("ray")


@pytest.fixture
def ray_starts_alone() -> Callable[[], AbstractContextManager[None]]:
    """For a test that starts a cluster of its own: what to be in while it starts, and no longer.

    Another part's tests wait for it within their own time.
    """
    import ray

    assert not ray.is_initialized(), "such a test comes before those that share a cluster"
    return one_at_a_time


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """`make test` has two processes with a Ray each. A node must be up within 30 s (Ray's own bound), and where nothing
    is compiled yet that is too short for two that start at once on two cores."""
    path = Path(tempfile.gettempdir()) / f"raytune-infer-tests-start-ray-{os.getuid()}"
    # Others can write into this folder too: a link that one of them has put there is not followed.
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def start_ray(attempts: int = 3) -> None:
    import ray

    try:
        ray.init(
            address="local",
            num_cpus=4,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=128 * 1024**2,
        )
    except Exception:  # it says no more: most likely that the node was not up in time
        ray.shutdown()
        if attempts == 1:
            raise
        start_ray(attempts - 1)


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One small Ray on this machine for all tests of a session; an initialised one is used as it is."""
    import ray

    if ray.is_initialized():
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        # Workers must be able to import the test module that a trainable is defined in.
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        # Ray has its workers yield to whatever else runs here: `make test` computes beside them.
        patch.setenv("RAY_worker_niceness", "0")
        from cluster.starting.own_ray import closed_ray

        with closed_ray():
            with one_at_a_time():
                start_ray()
            yield
            ray.shutdown()

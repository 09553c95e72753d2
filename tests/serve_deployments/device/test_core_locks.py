"""Lock files of cores among users who do not trust one another: nothing of others is followed, changed, waited for."""

import fcntl
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from serve_deployments.device.core_locks import BadFolder, lock_folder, prepared, try_lock
from serve_deployments.device.limits import CoreLease, NoCores, unleased_cores

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can work as another user")


def lease(count: int, folder: Path) -> CoreLease:
    return CoreLease(count, folder=folder, available=[0, 1, 2], deadline_s=0.0)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def odd_umask():
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_every_user_can_make_locks_and_read_others_but_change_or_remove_none(tmp_path, odd_umask):
    folder = tmp_path / "a" / "b"
    lease(1, folder).release()
    assert mode_of(folder) == 0o1777 and mode_of(folder / "0.lock") == 0o644


def test_a_folder_of_ours_that_an_earlier_version_made_is_closed(tmp_path):
    folder = tmp_path / "locks"
    folder.mkdir()
    folder.chmod(0o777)
    lease(1, folder).release()
    assert mode_of(folder) == 0o1777


def test_no_link_is_followed_and_no_mode_of_a_file_that_was_there_is_changed(tmp_path):
    """Anyone can make a link in the folder, and wait for another user to lease cores."""
    folder, secret, victim = tmp_path / "locks", tmp_path / "secret", tmp_path / "new"
    prepared(folder)
    secret.write_text("mine")
    secret.chmod(0o600)
    (folder / "0.lock").symlink_to(secret)
    (folder / "1.lock").symlink_to(victim)  # would be created
    os.link(secret, folder / "2.lock")  # a hard link is a regular file of ours
    for core in range(3):
        if (lock := try_lock(folder, core)) is not None:
            lock.close()
    assert mode_of(secret) == 0o600 and secret.read_text() == "mine" and not victim.exists()
    with pytest.raises(NoCores, match=r"core 0 is kept by what user \w+ has put in place of the lock .*/0\.lock"):
        lease(3, folder)
    assert unleased_cores([0, 1, 2], folder=folder) == {2}


def test_a_file_behind_a_link_is_not_locked_even_for_a_moment(tmp_path, monkeypatch):
    """Another program of ours may use a lock on it."""
    folder, mine, locked = prepared(tmp_path / "locks"), tmp_path / "mine", list[int]()
    mine.touch()
    (folder / "0.lock").symlink_to(mine)
    monkeypatch.setattr(fcntl, "flock", lambda opened, how: locked.append(os.fstat(opened).st_ino))
    assert try_lock(folder, 0) is None and locked == []
    assert (lock := try_lock(folder, 1)) is not None and len(locked) == 1
    lock.close()


def test_what_is_no_regular_file_is_neither_waited_for_nor_locked(tmp_path):
    os.mkfifo(prepared(tmp_path / "locks") / "0.lock")  # opened for reading it would wait for a writer
    (tmp_path / "locks" / "1.lock").mkdir()
    assert lease(1, tmp_path / "locks").cores == (2,)
    with pytest.raises(NoCores, match="what user .*0.lock.*what user .*1.lock"):
        lease(2, tmp_path / "locks")


def test_a_link_in_place_of_the_folder_is_refused_and_its_target_left_as_it_is(tmp_path):
    target = tmp_path / "home"
    target.mkdir(mode=0o700)
    (tmp_path / "locks").symlink_to(target)
    with pytest.raises(NoCores, match="locks, which is not a folder that can be used .* belongs to user .*remove it"):
        lease(1, tmp_path / "locks")
    (tmp_path / "file").touch()
    with pytest.raises(BadFolder):
        prepared(tmp_path / "file")
    assert mode_of(target) == 0o700 and list(target.iterdir()) == []
    assert unleased_cores([0], folder=tmp_path / "locks") == set()


@as_root
def test_a_folder_that_another_user_has_made_is_refused_as_its_owner_could_remove_our_locks(tmp_path):
    folder = prepared(tmp_path / "locks")
    os.chown(folder, NOBODY, NOBODY)
    for mode in (0o1777, 0o755):
        folder.chmod(mode)
        with pytest.raises(NoCores, match=rf"locks, which belongs to user nobody, with mode {mode:04o}; .*install -d"):
            lease(1, folder)
    assert list(folder.iterdir()) == []


@as_root
@pytest.mark.parametrize("mode", [0o755, 0o777])
def test_a_folder_of_root_in_which_others_can_make_no_locks_or_remove_them_is_refused(shared, mode):
    shared.chmod(mode)
    os.seteuid(NOBODY)
    try:
        with pytest.raises(BadFolder, match=rf"belongs to user root, with mode {mode:04o}; .*install -d -m 1777 "):
            prepared(shared)
    finally:
        os.seteuid(0)


def test_a_lock_whose_file_was_removed_before_it_was_locked_is_taken_on_the_file_that_others_see(tmp_path, monkeypatch):
    folder = prepared(tmp_path / "locks")
    flock = fcntl.flock
    removed: list[bool] = []

    def removed_first(opened: int, how: int) -> None:
        if not removed:
            (folder / "0.lock").unlink()
            removed.append(True)
        flock(opened, how)

    monkeypatch.setattr(fcntl, "flock", removed_first)
    lock = try_lock(folder, 0)
    assert lock is not None
    assert removed and try_lock(folder, 0) is None
    lock.close()


HOLDS = """\
import os, sys
from pathlib import Path
from serve_deployments.device.limits import CoreLease

os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
held = CoreLease(1, folder=Path(sys.argv[2]), available=[0, 1, 2], deadline_s=0.0)
print(*held.cores, flush=True)
sys.stdin.read()
"""


@contextmanager
def held_by(uid: int, folder: Path) -> Iterator[int]:
    """A process of another user that leases a core; yields its id."""
    words = (sys.executable, "-c", HOLDS, str(uid), str(folder))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        yield process.pid
        process.kill()


@pytest.fixture
def shared():
    """A folder that every user can reach, unlike `tmp_path`."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        Path(folder).chmod(0o755)
        yield prepared(Path(folder) / "locks")


@as_root
def test_the_lock_of_another_user_is_respected_named_with_its_owner_and_can_be_had_after_him(shared):
    with held_by(NOBODY, shared) as pid:
        other = lease(1, shared)
        assert other.cores == (1,)
        other.release()
        with pytest.raises(NoCores, match=rf"\(core 0 is kept by process {pid} of user nobody\)"):
            lease(3, shared)
    assert (shared / "0.lock").stat().st_uid == NOBODY
    held = lease(3, shared)
    assert held.cores == (0, 1, 2)
    held.release()


@as_root
def test_a_user_without_rights_leases_the_cores_whose_locks_another_has_made(shared):
    lease(3, shared).release()  # root's files
    with held_by(NOBODY, shared):
        assert unleased_cores([0, 1, 2], folder=shared) == {1, 2}


def test_processes_with_temporary_folders_of_their_own_see_the_same_locks(monkeypatch, tmp_path):
    found = set()
    for name in ("a", "b"):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
        found.add(lock_folder())
    assert len(found) == 1 or not Path("/dev/shm").is_dir()

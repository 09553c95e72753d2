"""What is sent to other machines of a folder: its files, without secrets and without what git ignores."""

from pathlib import Path

import pytest

from cluster.starting.sent_folder import sent_files, sent_folder


def written(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def sent(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in sent_files(folder)]


def test_secrets_and_what_tools_make_stay_here(tmp_path):
    kept = written(tmp_path, "model.py", "weights/a.bin", "environment.yaml", ".hidden")
    written(kept, ".env", ".env.local", "deep/.env", ".git/config", ".venv/lib/x.py", "__pycache__/m.pyc", "id_rsa")
    assert sent(kept) == [".hidden", "environment.yaml", "model.py", "weights/a.bin"]


@pytest.mark.parametrize("is_repository", [True, False])
def test_what_a_gitignore_in_or_around_the_folder_names_stays_here(tmp_path, is_repository):
    service = written(tmp_path / "repository" / "service", "model.py", "key.pem", "big/log", "big/ok", "out/x", "sub/y")
    (tmp_path / ".gitignore").write_text("model.py\n")  # of no repository that the service is in
    (tmp_path / "repository" / ".gitignore").write_text("*.pem\nservice/out/\n")
    (service / ".gitignore").write_text("log\n")
    (service / "sub" / ".gitignore").write_text("y\n")
    if is_repository:
        (tmp_path / "repository" / ".git").mkdir()
    always = [".gitignore", "big/ok", "model.py", "sub/.gitignore"]
    assert sent(service) == sorted(always + ([] if is_repository else ["key.pem", "out/x"]))


def test_the_folder_that_is_sent_has_the_same_content_below_whatever_is_wanted(tmp_path):
    folder = written(tmp_path / "service", "a.txt", "deep/b.txt", ".env")
    (folder / "elsewhere").symlink_to(written(tmp_path / "data", "c.txt"))
    for below in ("", "service"):
        with sent_folder(folder, below=below) as made:
            assert {path.read_text() for path in (made / below).rglob("*.txt")} >= {"a.txt", "deep/b.txt"}
            assert (made / below / "elsewhere" / "c.txt").read_text() == "c.txt"
            assert not (made / below / ".env").exists()
            assert below == "" or [path.name for path in made.iterdir()] == [below]
        assert not made.exists()
    assert (folder / ".env").read_text() == ".env"

"""What is sent to other machines of a folder: its files, without secrets and without what git ignores."""

import shutil
import subprocess
from pathlib import Path

import pytest

from cluster.starting.sent_folder import sent_files, sent_folder


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch) -> Path:
    """That of a user without settings of git."""
    folder: Path = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL"):
        monkeypatch.delenv(name, raising=False)
    return folder


def written(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def sent(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in sent_files(folder).files]


def test_secrets_and_what_tools_make_stay_here(tmp_path):
    kept = written(tmp_path, "model.py", "weights/a.bin", "environment.yaml", ".hidden")
    written(kept, ".git/config", ".venv/lib/x.py", "__pycache__/m.pyc")
    secrets = [
        ".env",
        ".env.local",
        "deep/.env",
        ".envrc",
        "prod.env",
        ".netrc",
        ".git-credentials",
        ".aws/credentials",
    ]
    secrets += ["id_rsa", "id_rsa.bak", "deep/id_ed25519", "id_work"]
    written(kept, *secrets, "id_map.json", "id_encoder/a.py")
    names = [".hidden", "environment.yaml", "id_encoder/a.py", "id_map.json", "model.py", "weights/a.bin"]
    assert sent(kept) == names
    left_out = {path.relative_to(kept).as_posix() for path in sent_files(kept).left_out}
    assert left_out == {*secrets, ".aws"} - {".aws/credentials"}, "what was made by tools is not worth a word"


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


@pytest.mark.parametrize("above", ["service/", "service", "/*", "repository/service/**", "*"])
def test_that_git_ignores_the_folder_itself_does_not_count(tmp_path, above):
    """Its files are ignored only where a pattern names them: `*` and `service/**` name all."""
    service = written(tmp_path / "service", "model.py", "key.pem")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text(f"*.pem\n{above}\n")
    assert sent(service) == ([] if above == "*" else ["model.py"])


def test_what_a_gitignore_deeper_down_takes_out_again_is_sent_unless_it_is_a_secret(tmp_path):
    folder = written(tmp_path, ".git/info/exclude", "b.key", "deep/a.key", "deep/b.key", "deep/.env", "notes", "local")
    (folder / ".gitignore").write_text("*.key\n")
    (folder / ".git" / "info" / "exclude").write_text("notes\n!*.key\n")
    (folder / "deep" / ".gitignore").write_text("!a.key\n!.env\n")
    assert sent(folder) == [".gitignore", "deep/.gitignore", "deep/a.key", "local"]


def test_behind_links_the_same_holds_and_a_link_back_is_not_followed(tmp_path):
    data = written(tmp_path / "other" / "data", "ok", ".env", "log", "deep/key.pem", "deep/mine", "deep/theirs")
    (tmp_path / "other" / ".git").mkdir()
    (tmp_path / "other" / ".gitignore").write_text("data/deep/theirs\n")
    (data / ".gitignore").write_text("log\n")
    service = written(tmp_path / "repository" / "service", "model.py")
    (service.parent / ".git").mkdir()
    (service.parent / ".gitignore").write_text("*.pem\nservice/linked/deep/mine\n")
    (service / "linked").symlink_to(data)
    (data / "back").symlink_to(service)
    (service / "settings").symlink_to(data / ".env")
    (service / "credentials").symlink_to(written(tmp_path / ".aws", "credentials") / "credentials")
    assert sent(service) == ["linked/.gitignore", "linked/ok", "model.py"]


def test_what_is_not_sent_is_said(tmp_path, caplog):
    folder = written(tmp_path, "model.py", ".env", *(f"{number}.log" for number in range(7)), ".git/config")
    (folder / ".gitignore").write_text("*.log\n")
    with sent_folder(folder):
        pass
    assert ": .env, 0.log, 1.log, 2.log, 3.log, 4.log and 2 more (ignored by git" in caplog.text


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


def own_rules(home: Path, how: str, text: str) -> None:
    """Write a user's rules for all repositories, in one of the ways that git knows."""
    file = home / (".config/git/ignore" if how == "by default" else "mine")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    if how != "by default":
        settings = home / ("included" if how == "included" else ".gitconfig")
        settings.write_text("[core]\n\texcludesFile = ~/mine\n")
        if how == "included":
            (home / ".gitconfig").write_text("[include]\n\tpath = included\n")


@pytest.mark.parametrize("how", ["by default", "named", "included"])
def test_what_the_user_has_git_ignore_everywhere_stays_here_unless_a_repository_says_otherwise(tmp_path, home, how):
    if how != "by default" and shutil.which("git") is None:
        pytest.skip("git is not installed")
    own_rules(home, how, "*.pem\nservice/notes\n")
    names = ("model.py", "key.pem", "public.pem", "notes", "sub/key.pem")
    service = written(tmp_path / "repository" / "service", *names)
    if shutil.which("git") is not None:
        subprocess.run(["git", "init", "-q", service.parent], check=True)
    (service.parent / ".git" / "info").mkdir(parents=True, exist_ok=True)
    (service.parent / ".git" / "info" / "exclude").write_text("!public.pem\n")
    assert sent(service) == ["model.py", "public.pem"]
    assert sent(written(tmp_path / "alone", *names)) == ["model.py", "notes"], "in no repository: by the same patterns"
    if shutil.which("git") is not None:
        subprocess.run(["git", "-C", service.parent, "config", "core.excludesFile", ""], check=True)
        assert sent(service) == sorted(names), "a repository's own setting wins"

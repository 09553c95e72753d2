"""What README and docs show works: files load, commands parse, code imports what exists, links lead somewhere."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer.core
import typer.main
import yaml

from cluster.prices import load_prices
from raytune_infer.commands.app import app
from raytune_infer.report.export.models_file import ModelsFile
from raytune_infer.spec.document import Document
from raytune_infer.spec.service import Service
from raytune_infer.spec.service_spec import ServiceSpec, load_spec, parse_spec
from tests.repository import ROOT

YOUR_MODEL = ROOT / "docs" / "your-model.md"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
CARDS = [file for folder in ("benchmarks", "data", "searchers") for file in sorted((ROOT / folder).rglob("*.md"))]
NO_SHELLS = ("yaml", "python", "json")
COMMANDS: dict[str, typer.core.TyperCommand] = vars(typer.main.get_command(app))["commands"]


def named(pages: list[Path]) -> list:
    return [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in pages]


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """The fenced blocks of a page: their language and their text."""
    for found in re.finditer(
        r"^ *```([^`\n]*)\n(.*?)^ *```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    ):
        yield found[1].strip(), found[2]


def of_language(language: str) -> list:
    return [
        pytest.param(text, id=f"{page.name}-{number}")
        for page in PAGES
        for number, (spoken, text) in enumerate(blocks(page))
        if spoken == language
    ]


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def shown_commands(page: Path) -> list[list[str]]:
    """The words of each `raytune-infer …` in a page's blocks, without comments and redirections.

    Whatever is not another language is taken for a shell's.
    """
    shells = [text for language, text in blocks(page) if language not in NO_SHELLS]
    lines = [line for text in shells for line in text.replace("\\\n", " ").splitlines()]
    found = [re.search(r"^ *(?:[$#>] )?(?:\S*/)?raytune-infer +(.*)", line) for line in lines]
    return [shlex.split(f[1].split(" > ")[0], comments=True) for f in found if f]


def mentioned_commands(page: Path) -> list[list[str]]:
    """Those in the prose: what an option is given may be left out, or stand for something."""
    return [words.split() for words in re.findall(r"`[^`]*raytune-infer ([a-z][^`]*)`", prose(page))]


def of(words: list[str]) -> typer.core.TyperCommand:
    assert words[0] in COMMANDS, f"no command {words[0]}"
    return COMMANDS[words[0]]


def check_mention(words: list[str]) -> None:
    """Raises AssertionError for a command or an option that there is not."""
    options = {name for parameter in of(words).params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


def check_fragment(text: str, whole: str) -> None:
    """Raises if a block is neither a service.yaml, nor a part of one, nor a models.yaml, nor a price book."""
    keys = yaml.safe_load(text)
    if "models" in keys:
        ModelsFile.model_validate(keys)
        return
    if set(keys) <= set(ServiceSpec.model_fields):
        merged = {**yaml.safe_load(whole), **keys} if "model" not in keys else keys
        if "requests" in keys:  # in place of samples
            merged.pop("samples", None)
        parse_spec(Document(yaml.safe_dump(merged), "a block"), folder=ROOT)
    else:
        raise KeyError(set(keys) - set(ServiceSpec.model_fields))


def whole_service(page: Path = YOUR_MODEL) -> str:
    return next(text for language, text in blocks(page) if language == "yaml")


@pytest.mark.parametrize("text", of_language("yaml"))
def test_every_yaml_block_is_a_service_a_part_of_one_or_a_price_book(text, tmp_path):
    if "usd_per_hour:" in text and "knobs:" not in text:
        (tmp_path / "book.yaml").write_text(text, encoding="utf-8")
        assert load_prices(tmp_path / "book.yaml").cpu_core_usd_per_hour > 0
    else:
        check_fragment(text, whole_service())


@pytest.mark.parametrize("page", named([ROOT / "README.md", YOUR_MODEL]))
def test_the_service_of_a_page_is_a_whole_one_with_all_its_knobs(page):
    spec = parse_spec(Document(text := whole_service(page), page.name), folder=ROOT)
    assert len(spec.knobs) == len(re.findall(r"^  \w+: ", text.split("knobs:")[1].split("\nobj")[0], re.M))


@pytest.mark.parametrize("page", named([*PAGES, *CARDS]))
def test_every_command_that_is_shown_parses(page):
    for words in shown_commands(page):
        of(words).make_context(words[0], words[1:])
    for words in mentioned_commands(page):
        check_mention(words)


def test_commands_are_found_and_a_wrong_one_would_be_noticed():
    assert shown_commands(ROOT / "README.md") == [["tune", "my-service.yaml", "--out", "run"]]
    assert len(shown_commands(YOUR_MODEL)) == 6
    assert len(shown_commands(ROOT / "docs" / "recommend.md")) == 3
    assert shown_commands(ROOT / "docs" / "demo.md") == [["tune", "examples/minilm.yaml", "--seed", "0"]]
    with pytest.raises(Exception, match="No such option.*--trails"):
        of(["tune"]).make_context("tune", ["a.yaml", "--trails", "3"])
    with pytest.raises(AssertionError):
        check_mention(["tune", "--trails"])
    with pytest.raises(AssertionError, match="no command"):
        check_mention(["tuen"])
    with pytest.raises(KeyError):
        check_fragment("knobbs: {a: [1]}", whole_service())


@pytest.mark.parametrize("language", ["", "bash", "sh", "console", "shell", "text", "bash title=run"])
def test_commands_are_found_in_blocks_of_any_shell(tmp_path, language):
    (page := tmp_path / "page.md").write_text(
        f"```{language}\n$ .venv/bin/raytune-infer tune a.yaml \\\n    --trails 3 > log  # as said\n```\n"
        "```yaml\nraytune-infer tuen\n```\n"
    )
    assert shown_commands(page) == [["tune", "a.yaml", "--trails", "3"]]
    with pytest.raises(Exception, match="No such option.*--trails"):
        test_every_command_that_is_shown_parses(page)


def imports(code: str) -> list[tuple[str, str]]:
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
    return [(node.module or "", alias.name) for node in nodes for alias in node.names]


@pytest.mark.parametrize("code", of_language("python"))
def test_every_python_block_compiles_and_what_it_imports_is_there(code):
    compile(code, "a block", "exec")
    for module, name in imports(code):
        assert hasattr(import_module(module), name) or find_spec(f"{module}.{name}") is not None


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S), re.M
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", named([*PAGES, *CARDS]))
def test_every_link_leads_to_a_file_and_a_heading(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not link.startswith(("http://", "https://")):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", named(PAGES[:1] + PAGES[2:]))
def test_every_file_and_every_make_target_that_is_named_exists(page):
    text = page.read_text(encoding="utf-8")
    # What a contributor adds is not there yet; tests/docs/test_contributing.py puts it there.
    files = r"(?<!The file is )`((?:tests|benchmarks|examples|docs|searchers|cluster|data)/[\w/.-]+\.\w+)`"
    named_files = re.findall(files, text)
    assert [file for file in named_files if not (ROOT / file).exists()] == []
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    shown = re.findall(r"(?:`|^)make ([a-z-]+)", text, re.M)
    assert [target for target in shown if target not in targets] == []


@pytest.mark.parametrize("file", named([*(ROOT / "examples").glob("*.yaml"), ROOT / "tests/wheel/service.yaml"]))
def test_every_example_loads_with_its_samples_and_its_model(file, monkeypatch):
    monkeypatch.setattr("sys.path", ["", *sys.path])
    assert Service(load_spec(file)).samples


MADE = """\
#!/bin/sh
echo "$*" >> "$MADE"
[ "$*" != "$HANGS" ] || exec sleep 600
[ "$*" != "$FAILS" ]
"""
"""Stands in for `make`: writes down what it is asked for; fails, or never ends, at one thing if told."""


@pytest.fixture
def ci(tmp_path):
    """`.ci/run` in a folder of its own, with that `make`: how it ends, and what was made."""
    for folder in (".ci", ".venv", "bin"):
        (tmp_path / folder).mkdir()
    (tmp_path / "bin" / "make").write_text(MADE, encoding="utf-8")
    for command in ("wrk", "initdb"):  # so that they are not installed
        (tmp_path / "bin" / command).write_text("#!/bin/sh\n", encoding="utf-8")
    for command in ("make", "wrk", "initdb"):
        (tmp_path / "bin" / command).chmod(0o755)
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")

    def run(**more):
        told = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "MADE": str(tmp_path / "made"), **more}
        told = {"HANGS": "", "FAILS": "", **told}
        ended = subprocess.run([tmp_path / ".ci" / "run"], env=os.environ | told, capture_output=True, text=True)
        return ended, (tmp_path / "made").read_text(encoding="utf-8").splitlines()

    return run


@pytest.mark.parametrize("failing", ["", "install", "wheel", "test", "wheel-test"])
def test_ci_runs_the_readme_s_commands_and_fails_with_each(ci, failing):
    ended, ran = ci(FAILS=failing)
    assert (ended.returncode == 0) == (failing == ""), ended.stderr
    if not failing:
        assert ran[0] == "install" and ran[-1] == "wheel-test" and sorted(ran[1:-1]) == ["test", "wheel"]
        assert {f"make {target}" for target in ("install", "test", "wheel-test")} <= set(
            re.findall(r"`(make [a-z-]+)`", (ROOT / "README.md").read_text(encoding="utf-8"))
        )
        assert re.search(r"^CI: make test took \d+ s$", ended.stdout, re.M)


def test_what_cannot_be_installed_does_not_end_ci(ci, tmp_path):
    (tmp_path / "bin" / "wrk").unlink()
    (tmp_path / "bin" / "apt-get").write_text("#!/bin/sh\necho no network >&2\nexit 100\n", encoding="utf-8")
    (tmp_path / "bin" / "apt-get").chmod(0o755)
    for command in ("bash", "sh", "env", "timeout", "dirname", "nice", "cat"):
        (tmp_path / "bin" / command).symlink_to(shutil.which(command))
    ended, ran = ci(PATH=str(tmp_path / "bin"))
    assert ended.returncode == 0 and ran[-1] == "wheel-test", ended.stderr
    assert "CI: wrk is not here and could not be installed; tests that need it are skipped" in ended.stdout


@pytest.mark.parametrize("hanging", ["install", "wheel", "test", "wheel-test"])
def test_what_never_ends_ends_ci_by_its_limit(ci, hanging):
    ended, ran = ci(HANGS=hanging, LIMIT="1s")
    assert ended.returncode != 0 and hanging in ran
    assert re.search(r"timeout: sending signal TERM to command", ended.stdout + ended.stderr)

"""The site's own parts: the page of commands, pages from outside of docs/, and what no page may have."""

import logging
import re
from types import SimpleNamespace

import pytest
import yaml

from docs.plugins import checks, commands, repository_pages
from tests.docs.test_docs import COMMANDS, PAGES
from tests.repository import ROOT

BUILT = [page for page in PAGES if page.is_relative_to(ROOT / "docs")]


def test_the_page_of_commands_has_each_command_with_each_of_its_options():
    written = commands.commands()
    assert re.findall(r"^## (.*)$", written, re.M) == list(COMMANDS)
    for name, section in zip(COMMANDS, written.split("\n## "), strict=True):
        command = COMMANDS[name]
        rows = re.findall(r"^\| `(?:-\w, )?(\S+?)[ ,`]", section, re.M)
        shown = [next((o for o in p.opts if o.startswith("--")), p.metavar) for p in command.params]
        assert rows == shown and str(command.help).splitlines()[0] in section
    assert "| `--budget <int range>` | Largest number of trials of a search. [default: 40; x>=1] |" in written


def test_only_the_page_with_the_mark_gets_the_commands():
    config = SimpleNamespace(config_file_path=str(ROOT / "mkdocs.yml"))
    page = (ROOT / "docs" / "commands.md").read_text()
    assert "raytune-infer replay [OPTIONS]" in commands.on_page_markdown(page, None, config, None)  # type: ignore[arg-type]
    assert commands.on_page_markdown("no mark", None, config, None) == "no mark"  # type: ignore[arg-type]


def test_what_a_page_links_to_is_found_outside_of_fences(tmp_path):
    page = tmp_path / "docs" / "a.md"
    page.parent.mkdir()
    page.write_text(
        "[r](../b/R.md#x) [w](https://a.org/x.md) [self](#here)\n```\n[no](n.md)\n```\n![d](images/d.svg)\n"
    )
    assert list(repository_pages.linked(page)) == [tmp_path / "b" / "R.md", tmp_path / "docs" / "images" / "d.svg"]


@pytest.mark.parametrize(
    ("written", "source", "site", "moved"),
    [
        ("[r](../b/R.md#x)", "docs/a.md", "a.md", "[r](b/R.md#x)"),
        ("[r](../../b/R.md)", "docs/in/a.md", "in/a.md", "[r](../b/R.md)"),
        ("![d](../docs/images/d.svg)", "b/R.md", "b/R.md", "![d](../images/d.svg)"),
        ("[c](c.md) [w](https://a.org/x) [s](#s)", "docs/a.md", "a.md", "[c](c.md) [w](https://a.org/x) [s](#s)"),
        ("```\n[r](../b/R.md)\n```", "docs/a.md", "a.md", "```\n[r](../b/R.md)\n```"),
    ],
)
def test_links_lead_where_the_site_has_their_files(tmp_path, written, source, site, moved):
    config = SimpleNamespace(config_file_path=str(tmp_path / "mkdocs.yml"), docs_dir=str(tmp_path / "docs"))
    page = SimpleNamespace(file=SimpleNamespace(abs_src_path=str(tmp_path / source), src_uri=site))
    assert repository_pages.on_page_markdown(written, page, config, None) == moved  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://cdn.org/a.js"></script>', "<link rel=stylesheet href=//fonts.org/f.css>",
        '<img alt="" src="http://a.org/b.png">', "<style>a { background: url('https://a.org/b.png') }</style>",
        '@import "https://a.org/b.css";',
    ],
)  # fmt: skip
def test_a_site_that_fetches_something_from_elsewhere_is_refused(tmp_path, html):
    (tmp_path / "page.html").write_text(html)
    with pytest.raises(Exception, match=r"page.html fetches .* from elsewhere.*; put it into the site"):
        checks.on_post_build(SimpleNamespace(site_dir=str(tmp_path)))  # type: ignore[arg-type]


def test_a_site_that_only_links_elsewhere_is_not(tmp_path):
    (tmp_path / "page.html").write_text('<a href="https://a.org">a</a><script src="assets/a.js"></script>')
    checks.on_post_build(SimpleNamespace(site_dir=str(tmp_path)))  # type: ignore[arg-type]


@pytest.mark.parametrize("swallowed", ["- a", "* a", "1. a", "| a |"])
def test_a_list_that_was_taken_for_plain_text_is_told(caplog, swallowed):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="a.md"))
    with caplog.at_level(logging.WARNING):
        checks.on_page_content(f"<p>Of <em>them</em>:\n{swallowed}</p>", page, None, None)  # type: ignore[arg-type]
    assert "a.md: put an empty line before" in caplog.text
    assert checks.not_rendered("<p>a - b\nc</p>\n<ul>\n<li>a</li>\n</ul>") is None


def test_every_page_has_its_place_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text().replace("!!python/object/apply:pymdownx.slugs.slugify", "")
    named = re.findall(r"[\w/-]+\.md", str(yaml.safe_load(text)["nav"]))
    assert len(named) == len(set(named))
    assert {page.relative_to(ROOT / "docs").as_posix() for page in BUILT} <= set(named)
    assert all((ROOT / "docs" / page).exists() or (ROOT / page).exists() for page in named)

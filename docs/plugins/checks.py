"""What a page must not have: anything fetched from elsewhere, and lists or tables that were taken for plain text."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

_log = logging.getLogger("mkdocs.plugins.checks")  # under mkdocs: in strict mode its warnings are errors

_FETCHED = re.compile(
    r"""<(?:script|link|img|iframe|source|video|audio)\b[^>]*?\b(?:src|href)\s*=\s*["']?(?:https?:)?//[^>]*>"""
    r"""|\burl\(\s*["']?(?:https?:)?//[^)]*\)|@import\s+["'](?:https?:)?//[^"']*"""
)
_NOT_RENDERED = re.compile(r"<p>[^<]*(?:<(?!/p>)[^<]*)*?\n *(?:[-*] |\d+\. |\|)", re.DOTALL)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Complain of a list or table inside of a paragraph: GitHub sees it there, the site only after an empty line."""
    if found := not_rendered(html):
        _log.warning("%s: put an empty line before the list or table after %r", page.file.src_uri, found)
    return html


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site whose pages or styles load anything from another server."""
    for file in sorted(Path(config.site_dir).rglob("*")):
        if file.suffix in (".html", ".css") and (found := fetched(file.read_text(encoding="utf-8"))):
            raise PluginError(f"{file} fetches {found[0]!r} from elsewhere when it is opened; put it into the site")


def fetched(text: str) -> list[str]:
    """The tags and styles that load something from another server; links to be clicked are none of them."""
    return _FETCHED.findall(text)


def not_rendered(html: str) -> str | None:
    """The beginning of a paragraph with a list or table in it; None where there is none."""
    found = _NOT_RENDERED.search(html)
    return found[0][-120:] if found else None

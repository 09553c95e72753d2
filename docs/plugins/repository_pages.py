"""Pages of the repository that lie outside of docs/ (results, cards of data and weights): parts of the site too.

A page under docs/ links to such a file as on GitHub (`../benchmarks/search/RESULTS.md`). Each file that is linked so
becomes a page of the site under its path in the repository, and the links of all pages are changed accordingly.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
_FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside of docs/ that some page links to, directly or by way of another such page."""
    root = Path(config.config_file_path).parent
    waiting = [Path(str(file.abs_src_path)) for file in files.documentation_pages()]
    waiting.append(root / "CHANGELOG.md")  # which only the navigation names
    seen: set[Path] = set()
    while waiting:
        page = waiting.pop()
        if page in seen:
            continue
        seen.add(page)
        if not page.is_relative_to(config.docs_dir):
            files.append(File.generated(config, page.relative_to(root).as_posix(), abs_src_path=str(page)))
        waiting += [path for path in linked(page) if path.suffix == ".md" and path.is_file()]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with links that lead where their files are in the site."""
    source = Path(str(page.file.abs_src_path))

    def moved(link: re.Match[str]) -> str:
        if _is_elsewhere(link[2]):
            return link[0]
        target = Path(os.path.normpath(source.parent / link[2]))
        return f"{link[1]}{_relative(target, page.file.src_uri, config)}{link[3]}"

    return outside_fences(_LINK, moved, markdown)


def linked(page: Path) -> Iterator[Path]:
    """The files that a page links to, as the repository has them."""
    for _, link, _ in _LINK.findall(_FENCED.sub("", page.read_text(encoding="utf-8"))):
        if not _is_elsewhere(link):
            yield Path(os.path.normpath(page.parent / link))


def outside_fences(pattern: re.Pattern[str], new: Callable[[re.Match[str]], str], text: str) -> str:
    """The text with the pattern replaced everywhere but in fenced blocks."""
    parts, end = [], 0
    for fence in _FENCED.finditer(text):
        parts += [pattern.sub(new, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, pattern.sub(new, text[end:])])


def _is_elsewhere(link: str) -> bool:
    return re.match(r"[a-z]+:", link) is not None


def _relative(target: Path, from_page: str, config: MkDocsConfig) -> str:
    docs, root = Path(config.docs_dir), Path(config.config_file_path).parent
    place = target.relative_to(docs if target.is_relative_to(docs) else root).as_posix()
    return posixpath.relpath(place, posixpath.dirname(from_page))

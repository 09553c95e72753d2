"""The page around a view: its head with style and scripts, all of it in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from raytune_infer.errors import UserError
from raytune_infer.report.renderers.html.tables import text

# Nothing is fetched, whatever a text of a user's may hold: the browser itself refuses.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
    "form-action 'none'; {connect}"
)

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<noscript><p class="note warning">Without JavaScript the charts are not drawn; their numbers are in the tables below
them.</p></noscript>
<main id="report" data-version="{version}">{body}</main>
<script type="application/json" id="drawn">{drawn}</script>
<script>
{library}
</script>
<script>
{script}</script>
</body>
</html>
"""


def page(title: str, body: str, drawn: Mapping[str, Any], *, version: str = "") -> str:
    """Return a page.

    Args:
        title: its title, as text.
        body: its content, as HTML.
        drawn: id of an element of the body → the figures to draw in it.
        version: of a page that is watched, what its content is the content of: its script asks for a newer one from
            where the page came from, and from nowhere else. Empty for a page that asks nothing.

    Raises:
        UserError: there are charts and plotly, which draws them, is not installed.
    """
    script, connect = _own("page.js"), ""
    if version:
        script, connect = script + _own("watch.js"), "connect-src 'self'"
    return _PAGE.format(
        title=text(title), body=body, drawn=as_script(drawn), library=_library() if drawn or version else "",
        style=_own("page.css"), script=script, policy=_POLICY.format(connect=connect), version=text(version),
    )  # fmt: skip


def as_script(value: Any) -> str:
    """Return data as JSON that can stand in a script of a page: nothing in it ends the script or a line of it."""
    dumped = json.dumps(value, allow_nan=False)  # ASCII: line separators such as U+2028 are escaped
    return dumped.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _own(name: str) -> str:
    return (files("raytune_infer.report.renderers.html") / name).read_text(encoding="utf-8")


@cache
def _library() -> str:
    """Return plotly's own script, its licence at the top; the package is not imported, which takes a second."""
    found = find_spec("plotly")
    if found is None or found.origin is None:
        raise UserError("charts on a page need plotly: pip install plotly")
    return (Path(found.origin).parent / "package_data" / "plotly.min.js").read_text(encoding="utf-8")

"""URLs of databases as they may be shown: without what only their owner may know."""

from __future__ import annotations

import re

from sqlalchemy import URL

_IN_QUERY = re.compile(r"([?&][^=&]*(?:pass|pwd|secret|token)[^=&]*=)[^&]*", re.IGNORECASE)
"""An option of a URL whose name says that its value is a secret, as `password` and `sslpassword` of PostgreSQL."""
_BEFORE_HOST = re.compile(r"((?://)?[^/:@]*:)(?!//).*@")
"""What is between the first colon after a URL's scheme and its host."""


def shown(url: str | URL) -> str:
    """Return a URL with `***` in place of each password; a text need not be a valid URL."""
    text = url if isinstance(url, str) else url.render_as_string(hide_password=True)
    scheme, slashes, rest = text.rpartition("://") if text.count("://") == 1 else ("", "", text)
    return _IN_QUERY.sub(r"\1***", scheme + slashes + _BEFORE_HOST.sub(r"\1***@", rest, count=1))

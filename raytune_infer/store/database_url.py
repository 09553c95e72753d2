"""URLs of databases: of a file, from a text, and as they may be shown, without what only their owner may know."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote_plus, unquote_plus

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from raytune_infer.errors import RunError

_SECRET = r"(?:pass|pwd|secret|token|key)"
"""What a name has in it that says that its value is a secret, as `password`, `sslpassword`, `PWD` or `api_key`."""
_IN_QUERY = re.compile(r"([?&])([^=&]*)=([^&]*)")
"""An option of a URL: what is before it, its name and its value."""
_ASSIGNED = re.compile(
    rf"([\w.-]*{_SECRET}[\w.-]*\s*=\s*)"
    r"(?:'(?:[^'\\]|\\.)*'|\{[^}]*\}|.*?(?=(?:\s+|\s*[;&]\s*)[\w.-]+\s*=|$))",
    re.IGNORECASE | re.DOTALL,
)
"""A secret in a connection string of libpq (`user=u password='x y'`) or ODBC (`UID=u;PWD={x}`): its name; its value."""
_BEFORE_HOST = re.compile(r"((?://)?[^/:@]*:)(?!//).*@")
"""What is between the first colon after a URL's scheme and its host."""
_NO_HOST = re.compile(r"(^[^/:@?\[]*:)(?!\d{1,5}(?:[/?,]|$))[^@]*$", re.DOTALL)
"""After a URL's scheme: a user, and a password that no host follows; what may be a port is none."""


def url_of_file(path: Path) -> URL:
    """Return the URL of a SQLite file; it is not built as a text, where a `?` in the path would begin an option."""
    return URL.create("sqlite", database=str(path.resolve()))


def file_of(url: URL) -> Path | None:
    """Return the SQLite file that a URL names by its path; None for other databases, and for files named by a URI."""
    file = url.database
    return Path(file) if url.get_backend_name() == "sqlite" and file and not file.startswith("file:") else None


def absolute(text: str) -> str:
    """Return the URL with the path of a SQLite file made absolute, so that it means the same from any folder."""
    with suppress(ArgumentError, ValueError):
        url = make_url(text)
        if (file := file_of(url)) is not None and str(file) != ":memory:":
            return url.set(database=str(file.resolve())).render_as_string(hide_password=False)
    return text


def shown_url(url: str | URL | None) -> str | None:
    """Return the URL as it may be shown: absolute, and with `***` in place of a password; None for None."""
    if url is None:
        return None
    return shown(absolute(url) if isinstance(url, str) else url)


def url_of(text: str) -> URL:
    """Parse the URL of a database; raises RunError if it is invalid."""
    try:
        return make_url(text)
    except (ArgumentError, ValueError) as error:
        raise unusable(text, error) from None


def unusable(url: str | URL, error: Exception) -> RunError:
    """Return the error of a database that cannot be used, with what went wrong and the remedy."""
    if "readonly" in str(error):
        return RunError(
            f"the database {shown_url(url)!r} is of an earlier version and cannot be written, as its migration needs; "
            "copy the run's folder to where you may write, and open the copy"
        )
    # SQLAlchemy takes what follows a colon in a password for a port, and its ValueError repeats it.
    why = "the port is not a number; in a password, write : as %3A, / as %2F and @ as %40"
    if not isinstance(error, ValueError):
        why = _ASSIGNED.sub(r"\1***", (str(error).splitlines() or [type(error).__name__])[0])
    return RunError(
        f"cannot use the database {shown_url(url)!r}: {why}; a URL is needed such as "
        "sqlite:///history.db, and its driver installed, as `pip install 'raytune-infer[postgresql]'` does for "
        "postgresql+psycopg://user@host/name"
    )


def shown(url: str | URL) -> str:
    """Return a URL with `***` in place of each password; a text need not be a valid URL, nor be one at all."""
    text = url if isinstance(url, str) else url.render_as_string(hide_password=True)
    scheme, slashes, rest = text.rpartition("://") if text.count("://") == 1 else ("", "", text)
    if slashes:
        rest = _NO_HOST.sub(r"\1***", rest)
    rest = _BEFORE_HOST.sub(r"\1***@", rest, count=1)
    return _ASSIGNED.sub(r"\1***", scheme + slashes + _IN_QUERY.sub(_option, rest))


def _option(found: re.Match[str]) -> str:
    """An option of a URL without its secret, also one in a connection string that it holds, as in `odbc_connect`."""
    before, name, value = found.groups()
    if re.search(_SECRET, unquote_plus(name), re.IGNORECASE):
        value = "***"
    elif _ASSIGNED.search(unquote_plus(value)):
        value = quote_plus(_ASSIGNED.sub(r"\1***", unquote_plus(value)), safe="*")
    return f"{before}{name}={value}"

"""YAML documents whose errors name the line, and whose values are restricted to what callers can handle safely."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import yaml

from cluster.plain_scalars import EXPONENT, misread

_MOST_BYTES = 2**20
"""Largest file in bytes. Our choice: PyYAML reads some 100 KB a second, and files written by hand are a hundredth of
this."""

_MOST_VALUES = 100_000
"""Most values in a document, aliases expanded. Our choice: more than fit in a file of that size by hand; a few aliases
of aliases stand for billions."""

_REMEDIES = {
    "stream end": "close the bracket or the quotation mark that is open",
    "'\\t'": "indent with spaces, not with tabs",
    "block end": "indent the line like those it belongs to",
    "mapping values": "indent the line like those it belongs to, and put a text that holds a colon in quotes",
    "single document": "keep one document, and leave out the line of `---`",
    "no tag": "leave the tag out",
    "unknown tag": "leave the tag out, or put the text in quotes",
    "cannot start any token": "put a text that begins with this character in quotes",
    "alphabetic or numeric": "put a text that begins with * or & in quotes",
    "undefined alias": "name the anchor that it refers to, or put a text that begins with * in quotes",
    "second occurrence": "give each anchor a name of its own",
    "expected ',' or": "close the bracket that is open; "
    "put a text that holds a colon, a quotation mark or a bracket in quotes",
    "more than 64 bits": "put it in quotes if it is a text",
    "the character NUL": "leave it out, as neither variables nor databases can hold it",
    "cannot be written": "put the whole character, not half of it",
}
"""Words in PyYAML's error message → the usual remedy."""


class Unreadable(ValueError):
    """A file that does not exist or holds no text; the message says why, without the file's name."""


def text_of(path: Path) -> str:
    """The text of a file; raises Unreadable if it cannot be read, is too large or is not UTF-8."""
    try:
        with path.expanduser().open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise Unreadable(f"it is larger than {_MOST_BYTES // 2**20} MiB; put long lists into files of their own")
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Unreadable("it is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise Unreadable(error.strerror or "it cannot be opened") from None
    except RuntimeError as error:  # `~name` where there is no such user
        raise Unreadable(str(error)) from None


class Document:
    """A YAML document: its plain values, and the line of each.

    The values are a tree of reasonable size: no value contains itself, whole numbers fit in 64 bits, and texts can
    be written to any file or screen.

    Args:
        text: the YAML.
        source: the document's name in error messages.

    Raises:
        error: the text is not YAML or not a mapping, a key occurs twice in one mapping, or a value breaks the rules
            above.
    """

    error: ClassVar[type[ValueError]] = ValueError
    strict: ClassVar[bool] = True
    """Whether to refuse what YAML takes for something else than most people mean, and to read 1e-3 as a number; a
    document that an earlier version has read is read as it was then."""
    plain: ClassVar[bool] = False
    """Whether all values must be such as JSON has too, for whoever stores them."""

    def __init__(self, text: str, source: str) -> None:
        self.text = text
        self.source = source
        try:
            loader = (_StrictLoader if self.strict else _Loader)(text)
            loader.plain = self.plain
            self._root = loader.get_single_node()
            if self._root is not None:
                _Nodes(self).check(self._root)
            self.values: Any = None if self._root is None else loader.construct_document(self._root)
        except RecursionError:
            raise self.error(f"{source}: its brackets or lines are nested too deep; remove some levels") from None
        except yaml.YAMLError as error:
            raise self.error(self._not_yaml(error)) from None
        if not isinstance(self.values, dict):
            found = "an empty file" if self.values is None else kind_of(self.values)
            raise self.error(f"{source}: a mapping of keys is needed, as in `name: …`, found {found}")

    @classmethod
    def read(cls, path: Path) -> Self:
        """The document in a file; raises `error` if it cannot be read."""
        try:
            text = text_of(path)
        except Unreadable as error:
            raise cls.error(f"cannot read {path}: {error}") from None
        return cls(text, str(path))

    def place(self, keys: Sequence[str | int]) -> str:
        """`file:line: a.b[2]` of a value, or of its innermost parent that is in the file."""
        return f"{self.line(keys)}: {dotted(keys)}"

    def written(self, keys: Sequence[str | int]) -> str | None:
        """A plain scalar as it is written in the file; None for what is in quotes, is no scalar, or is not there."""
        node = self._root
        for key in keys:
            node = _child(node, key)
        return node.value if isinstance(node, yaml.ScalarNode) and node.style is None else None

    def line(self, keys: Sequence[str | int]) -> str:
        """`file:line` of a value, or of its innermost parent that is in the file."""
        node, line = self._root, 1
        for key in keys:
            child = _child(node, key)
            if child is None:
                break
            node = child
            line = node.start_mark.line + 1
        return f"{self.source}:{line}"

    def _not_yaml(self, error: yaml.YAMLError) -> str:
        if isinstance(error, yaml.reader.ReaderError):
            line = self.text.count("\n", 0, error.position) + 1
            why = "a control character that YAML does not allow"
            return f"{self.source}:{line}: not valid YAML ({why}); remove it, or save as UTF-8"
        mark = getattr(error, "problem_mark", None)
        if isinstance(error, _Misread):
            assert mark is not None, "it is raised with the node's"
            return f"{self.source}:{mark.line + 1}: {error.problem}"
        said = " ".join(filter(None, (getattr(error, "context", None), getattr(error, "problem", None))))
        remedy = next((remedy for words, remedy in _REMEDIES.items() if words in said), "correct it there")
        where = self.source if mark is None else f"{self.source}:{mark.line + 1}"
        return f"{where}: not valid YAML ({getattr(error, 'problem', None) or 'unreadable'}); {remedy}"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also refuses single values that YAML allows and nobody can mean."""

    plain = False
    """Whether to refuse dates and other values that JSON does not have."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except (yaml.YAMLError, RecursionError):
            raise
        except Exception as error:  # PyYAML does not catch what int(), date() and the like raise
            raise _no_value(node, f"{shown(node.value)} cannot be read as {node.tag.rpartition(':')[2]}") from error
        if self.plain and isinstance(value, datetime.date):
            raise _Misread(None, None, f"YAML takes {node.value} for a date; put it in quotes", node.start_mark)
        if self.plain and (tag := node.tag.rpartition(":")[2]) in ("set", "omap", "pairs", "binary"):
            raise _Misread(None, None, f"a !!{tag} is not taken; use a text, list or mapping", node.start_mark)
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise _no_value(node, "a whole number that takes more than 64 bits")
        if isinstance(value, str) and "\0" in value:
            raise _no_value(node, r"a text with the character NUL, \0")
        if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
            raise _no_value(node, "a text with a character that cannot be written")
        return value


def _unknown_tag(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    raise _no_value(node, f"unknown tag {shown(node.tag.rpartition(':')[2])}")


class _StrictLoader(_Loader):
    """The same, which refuses plain scalars that YAML 1.1 takes for something else than most people mean."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        value = super().construct_object(node, deep)
        if isinstance(node, yaml.ScalarNode) and (why := misread(node, value)) is not None:
            raise _Misread(None, None, why, node.start_mark)
        return value


class _Misread(yaml.constructor.ConstructorError):
    """A value that is valid YAML, and almost certainly meant as something else."""


_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+.0123456789"))
_Loader.add_constructor(None, _unknown_tag)
_Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: str(node.value))  # a lone `=`


def _no_value(node: yaml.Node, why: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, why, node.start_mark)


class _Nodes:
    """Checks each node of a document once, however many aliases refer to it."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._sizes: dict[int, int] = {}  # id of a node → its size; 0 while its parts are checked

    def check(self, node: yaml.Node) -> int:
        """Checks a node and all its parts; returns how many values it stands for, aliases expanded."""
        size = self._sizes.get(id(node))
        if size == 0:
            raise self._error(node, "it contains itself; write the values out")
        if size is None:
            self._sizes[id(node)] = 0
            size = self._sizes[id(node)] = 1 + sum(self.check(part) for part in self._parts(node))
        if size > _MOST_VALUES:
            raise self._error(node, f"it expands to more than {_MOST_VALUES} values; do not nest aliases")
        return size

    def _parts(self, node: yaml.Node) -> list[yaml.Node]:
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        if not isinstance(node, yaml.MappingNode):
            return []
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._error(
                    key, "a key must be text, not a list or a mapping; put a text that begins with { or [ in quotes"
                )
            if key.tag.rpartition(":")[2] not in ("str", "int", "merge"):
                raise self._error(
                    key, f"a key must be text, but YAML does not read {shown(key.value)} as text; put it in quotes"
                )
            if key.value in seen:
                raise self._error(key, f"{shown(key.value)} occurs twice; keep one of them")
            seen.add(key.value)
        return [value for _, value in node.value]

    def _error(self, node: yaml.Node, why: str) -> ValueError:
        return self._document.error(f"{self._document.source}:{node.start_mark.line + 1}: {why}")


def dotted(keys: Sequence[str | int]) -> str:
    """`("knobs", "cores", 2)` as `knobs.cores[2]`."""
    parts = (f"[{key}]" if isinstance(key, int) else "." + _short(key) for key in keys)
    return "".join(parts).lstrip(".") or "(top)"


def shown(value: object) -> str:
    """A value as error messages show it: short, on one line, and in YAML's words rather than Python's."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case datetime.date():
            return value.isoformat()
        case bytes():
            return "binary data"
        case str():
            return f"'{_short(value)}'"
        case dict():
            return _some([f"{_short(str(k))}: {shown(v)}" for k, v in list(value.items())[:4]], len(value), "{}")
        case list():
            return _some([shown(v) for v in value[:4]], len(value), "[]")
    return _short(str(value))


def kind_of(value: object) -> str:
    """The kind of a value that was read from YAML, in words for an error message."""
    kinds: dict[type, str] = {
        type(None): "nothing", bool: "true or false", int: "a number", float: "a number", str: "a text",
        list: "a list", dict: "a mapping", datetime.date: "a date", datetime.datetime: "a time",
    }  # fmt: skip
    return kinds.get(type(value), "another kind of value")


def _some(parts: list[str], count: int, brackets: str) -> str:
    return _short(brackets[0] + ", ".join(parts + ["…"] * (count > len(parts))) + brackets[1])


def _short(text: str) -> str:
    text = text if len(text) <= 60 else text[:59] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _child(node: yaml.Node | None, key: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        # The last one: what `<<` merges in comes first, and yields to the mapping's own keys.
        return next((value for k, value in reversed(node.value) if k.value == str(key)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key]
    return None

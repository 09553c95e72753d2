"""What an hour costs: dated price books, built in or a YAML file of the user's own.

A replica costs base + GPU price x share of the GPU + price of a core x cores (Morphling, SoCC 2021).
"""

import datetime
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from cluster import gpus

DEFAULT_BOOK = "cloud-2026"


class PriceBookError(ValueError):
    """A price book that cannot be found or read, or makes no sense."""


class NoPrice(ValueError):
    """The book has no price for this GPU."""


@dataclass(frozen=True)
class PriceBook:
    """Prices in US dollars an hour, their date and where they come from.

    Attributes:
        gpu_usd_per_hour: GPU type → a whole GPU's price without the cores beside it; known names are turned
            into the catalogue's.
    """

    name: str
    date: datetime.date
    source: str
    cpu_core_usd_per_hour: float
    gpu_usd_per_hour: Mapping[str, float]
    base_usd_per_hour: float = 0.0
    currency: str = "USD"

    def __post_init__(self) -> None:
        if self.currency != "USD":
            raise PriceBookError(f"`currency` is {self.currency!r}, only USD is possible: convert the prices")
        _check_price("base_usd_per_hour", self.base_usd_per_hour)
        _check_price("cpu_core_usd_per_hour", self.cpu_core_usd_per_hour)
        prices: dict[str, float] = {}
        for written, usd in self.gpu_usd_per_hour.items():
            _check_price(f"gpu_usd_per_hour.{written}", usd)
            gpu_type = gpus.canonical(written)
            if gpu_type in prices:
                raise PriceBookError(
                    f"`gpu_usd_per_hour` names {gpu_type} twice ({written!r} is the same "
                    "GPU); keep one of the two prices"
                )
            prices[gpu_type] = float(usd)
        object.__setattr__(self, "gpu_usd_per_hour", MappingProxyType(prices))

    def __reduce__(self) -> tuple[type["PriceBook"], tuple[object, ...]]:
        # A mappingproxy cannot be pickled, and a book may travel to Ray's workers.
        values = [getattr(self, field.name) for field in fields(self)]
        return PriceBook, tuple(dict(v) if isinstance(v, MappingProxyType) else v for v in values)

    def usd_per_hour(self, *, cpu_cores: float, gpu_type: str | None = None, gpu_share: float = 0.0) -> float:
        """Price of an hour of one replica.

        Args:
            cpu_cores: cores it holds.
            gpu_type: name or alias of its GPU; None: it has none.
            gpu_share: part of that GPU it pays for; above 1 for several.

        Raises:
            NoPrice: the book has no price for this GPU.
        """
        if not (math.isfinite(cpu_cores) and cpu_cores >= 0 and math.isfinite(gpu_share) and gpu_share >= 0):
            raise ValueError(f"cores and GPU share must be 0 or more, got {cpu_cores} and {gpu_share}")
        if gpu_type is None and gpu_share > 0:
            raise ValueError(f"a GPU share of {gpu_share} needs a GPU type to be priced")
        usd = self.base_usd_per_hour + self.cpu_core_usd_per_hour * cpu_cores
        return usd if gpu_type is None else usd + self._gpu_price(gpu_type) * gpu_share

    def _gpu_price(self, gpu_type: str) -> float:
        usd = self.gpu_usd_per_hour.get(gpus.canonical(gpu_type))
        if usd is None:
            raise NoPrice(
                f"price book {self.name!r} has no price for a {gpu_type}, only for "
                f"{', '.join(self.gpu_usd_per_hour) or 'no GPU at all'}; add it under "
                "`gpu_usd_per_hour` in a copy of the book and name that file as the price book"
            )
        return usd


def usd_per_million(usd_per_hour: float, rps: float) -> float:
    """US dollars per million requests at `rps` requests a second: price / (3600 rps) x 1e6."""
    if not rps > 0:
        raise ValueError(f"a price per request needs a rate above 0 requests/s, got {rps}")
    return usd_per_hour / (3600.0 * rps) * 1e6


def built_in() -> tuple[str, ...]:
    """Names of the books that come with the package."""
    books = resources.files("cluster") / "books"
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in books.iterdir() if entry.name.endswith(".yaml")))


def load_prices(name_or_path: str | Path = DEFAULT_BOOK) -> PriceBook:
    """A built-in book by name, or any other from its YAML file.

    Raises:
        PriceBookError: no such book or file, or one that does not hold a price book.
    """
    if str(name_or_path) in built_in():
        entry = resources.files("cluster") / "books" / f"{name_or_path}.yaml"
        return _parse(entry.read_text(encoding="utf-8"), str(name_or_path))
    try:
        text = Path(name_or_path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise PriceBookError(
            f"no price book {str(name_or_path)!r} ({reason}); built in are "
            f"{', '.join(built_in())}, anything else must be a YAML file"
        ) from None
    return _parse(text, str(name_or_path))


def _parse(text: str, place: str) -> PriceBook:
    try:
        content = yaml.load(text, Loader=_NoDuplicates)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{place}, line {mark.line + 1}, column {mark.column + 1}" if mark else place
        raise PriceBookError(f"{where}: {error.problem}; correct the YAML there") from None
    except (yaml.YAMLError, ValueError) as error:
        raise PriceBookError(f"{place} is not valid YAML ({error}); a built-in book shows the form") from None
    try:
        return PriceBook(**_checked(content))
    except PriceBookError as error:
        raise PriceBookError(f"{place}: {error}") from None


def _checked(content: object) -> dict[str, Any]:
    """The fields of a book, each of the right kind; says which is not and what it should be."""
    allowed = [field.name for field in fields(PriceBook)]
    if not isinstance(content, dict):
        raise PriceBookError(
            f"a price book is a mapping with {', '.join(allowed)}; "
            f"this is {'empty' if content is None else 'a ' + type(content).__name__}"
        )
    for key in content:
        if key not in allowed:
            close = difflib.get_close_matches(str(key), allowed, n=1)
            meant = f"did you mean `{close[0]}`? " if close else ""
            raise PriceBookError(f"`{key}` is no field of a price book; {meant}Allowed: {', '.join(allowed)}")
    required = [name for name in allowed if name not in ("base_usd_per_hour", "currency")]
    missing = [f"`{name}`" for name in required if content.get(name) is None]
    if missing:
        raise PriceBookError(f"{', '.join(missing)} missing; a price book needs {', '.join(required)}")
    for key in ("name", "source"):
        if not isinstance(content[key], str) or not content[key].strip():
            raise PriceBookError(f"`{key}` is {content[key]!r}, it must be some text")
    prices = content["gpu_usd_per_hour"]
    if not isinstance(prices, dict) or not all(isinstance(key, str) for key in prices):
        raise PriceBookError(f"`gpu_usd_per_hour` is {prices!r}, it must map GPU types to prices, as in `T4: 0.48`")
    return {**content, "date": _date(content["date"])}


def _date(value: object) -> datetime.date:
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value
    try:
        return datetime.date.fromisoformat(str(value))
    except ValueError:
        raise PriceBookError(f"`date` is {value!r}, it must be the day of the prices, as in 2026-01-15") from None


def _check_price(place: str, usd: object) -> None:
    number = isinstance(usd, int | float) and not isinstance(usd, bool)
    if not (number and math.isfinite(float(usd)) and float(usd) >= 0):  # type: ignore[arg-type]
        raise PriceBookError(f"`{place}` is {usd!r}, it must be US dollars an hour: a number, 0 or more")


class _NoDuplicates(yaml.SafeLoader):
    """YAML keeps the last of two equal keys without a word; a price written twice is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"`{key.value}` is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

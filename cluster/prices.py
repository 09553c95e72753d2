"""Prices per hour: dated price books, built in or from a YAML file of the user's own.

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

from cluster.document import Document, Unreadable, shown, text_of
from cluster.gpu_names import gpu_names

DEFAULT_BOOK = "cloud-2026"

_MOST_USD = 1e6
"""Highest price per hour that is accepted. Our choice: no machine costs a thousandth of it; a larger price has a digit
too many, or another unit."""


class PriceBookError(ValueError):
    """A price book that cannot be found or read, or has invalid content.

    Args:
        why: what is wrong, and the remedy.
        keys: path of keys to the wrong value in the book.
    """

    def __init__(self, why: str, *keys: str) -> None:
        super().__init__(why)
        self.keys = keys


class NoPrice(ValueError):
    """The book has no price for this GPU."""


@dataclass(frozen=True)
class PriceBook:
    """Prices in US dollars per hour, with their date and source.

    Attributes:
        gpu_usd_per_hour: GPU type → price of a whole GPU without CPU cores; known names are turned into the
            catalogue's.
    """

    name: str
    date: datetime.date
    source: str
    cpu_core_usd_per_hour: float
    gpu_usd_per_hour: Mapping[str, float]
    base_usd_per_hour: float = 0.0

    def __post_init__(self) -> None:
        _check_price(self.base_usd_per_hour, "base_usd_per_hour")
        _check_price(self.cpu_core_usd_per_hour, "cpu_core_usd_per_hour")
        prices: dict[str, float] = {}
        for written, usd in self.gpu_usd_per_hour.items():
            _check_price(usd, "gpu_usd_per_hour", written)
            gpu_type = _gpu_type(written)
            if gpu_type in prices:
                raise PriceBookError(
                    f"`gpu_usd_per_hour` names {gpu_type} twice ({shown(written)} is the same GPU); "
                    "keep one of the two prices",
                    "gpu_usd_per_hour",
                    written,
                )
            prices[gpu_type] = float(usd)
        object.__setattr__(self, "gpu_usd_per_hour", MappingProxyType(prices))

    def __reduce__(self) -> tuple[type["PriceBook"], tuple[object, ...]]:
        # A mappingproxy cannot be pickled, and a book may travel to Ray's workers.
        values = [getattr(self, field.name) for field in fields(self)]
        return PriceBook, tuple(dict(v) if isinstance(v, MappingProxyType) else v for v in values)

    def usd_per_hour(self, *, cpu_cores: float, gpu_type: str | None = None, gpu_share: float = 0.0) -> float:
        """Price of one replica for an hour.

        Args:
            cpu_cores: CPU cores that it holds.
            gpu_type: name or alias of its GPU; None: it has none.
            gpu_share: part of that GPU that it pays for; above 1 for several GPUs.

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
        usd = self.gpu_usd_per_hour.get(gpu_names.canonical(gpu_type))
        if usd is None and (found := gpu_names.known(gpu_type)) is not None and found.part_of is not None:
            return self._gpu_price(found.part_of) * found.part
        if usd is None:
            raise NoPrice(
                f"price book {self.name!r} has no price for a {gpu_type}, only for "
                f"{', '.join(self.gpu_usd_per_hour) or 'no GPU at all'}; add it under "
                "`gpu_usd_per_hour` in a copy of the book and name that file as the price book"
            )
        return usd


def _gpu_type(written: str) -> str:
    """The catalogue's name of a GPU of a book; the name as it is where the catalogue has no such GPU."""
    try:
        return gpu_names.exact(written).name
    except gpu_names.UnknownGpu:
        return gpu_names.canonical(written)
    except gpu_names.AmbiguousGpu as error:
        raise PriceBookError(f"`gpu_usd_per_hour`: {error}", "gpu_usd_per_hour", written) from None


def usd_per_million(usd_per_hour: float, rps: float) -> float:
    """US dollars per million requests at `rps` requests per second: price / (3600 rps) x 1e6."""
    if not rps > 0:
        raise ValueError(f"a price per request needs a rate above 0 requests/s, got {rps}")
    return usd_per_hour / (3600.0 * rps) * 1e6


def built_in() -> tuple[str, ...]:
    """Names of the price books that come with the package."""
    books = resources.files("cluster") / "books"
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in books.iterdir() if entry.name.endswith(".yaml")))


def load_prices(name_or_path: str | Path = DEFAULT_BOOK) -> PriceBook:
    """Loads a built-in book by name, or any other from its YAML file.

    Raises:
        PriceBookError: there is no such book or file, or the file does not hold a price book.
    """
    if str(name_or_path) in built_in():
        entry = resources.files("cluster") / "books" / f"{name_or_path}.yaml"
        return _parse(entry.read_text(encoding="utf-8"), str(name_or_path))
    try:
        text = text_of(Path(name_or_path))
    except Unreadable as error:
        raise PriceBookError(
            f"no price book '{name_or_path}' ({error}); built in are "
            f"{', '.join(built_in())}, anything else must be a YAML file"
        ) from None
    return _parse(text, str(name_or_path))


class _Book(Document):
    """The YAML document of a price book."""

    error = PriceBookError


def _parse(text: str, source: str) -> PriceBook:
    book = _Book(text, source)
    try:
        return PriceBook(**_checked(book.values))
    except PriceBookError as error:
        raise PriceBookError(f"{book.line(error.keys)}: {error}", *error.keys) from None


def _checked(content: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a book, checked; an error says which is of the wrong kind and what it should be."""
    allowed = [*(field.name for field in fields(PriceBook)), "currency"]
    for key in content:
        if key not in allowed:
            close = difflib.get_close_matches(str(key), allowed, n=1)
            meant = f"; did you mean `{close[0]}`?" if close else "."
            raise PriceBookError(
                f"a price book has no field {shown(key)}{meant} Allowed: {', '.join(allowed)}", str(key)
            )
    required = [name for name in allowed if name not in ("base_usd_per_hour", "currency")]
    missing = [f"`{name}`" for name in required if content.get(name) is None]
    if missing:
        raise PriceBookError(f"{', '.join(missing)} missing; a price book needs {', '.join(required)}")
    for key in ("name", "source"):
        if not isinstance(content[key], str) or not content[key].strip():
            raise PriceBookError(f"`{key}` is {shown(content[key])}, it must be some text; put it in quotes", key)
    prices = content["gpu_usd_per_hour"]
    if not isinstance(prices, dict) or not all(isinstance(key, str) for key in prices):
        raise PriceBookError(
            f"`gpu_usd_per_hour` is {shown(prices)}, it must map GPU types to prices, as in `T4: 0.48`",
            "gpu_usd_per_hour",
        )
    currency = content.get("currency", "USD")
    if currency != "USD":
        raise PriceBookError(f"`currency` is {shown(currency)}, only USD is possible: convert the prices", "currency")
    found = {key: value for key, value in content.items() if key != "currency"}
    return {**found, "date": _date(content["date"])}


def _date(value: object) -> datetime.date:
    try:
        return datetime.date.fromisoformat(str(value))
    except ValueError:
        why = f"`date` is {shown(value)}, it must be the day of the prices, as in 2026-01-15"
        raise PriceBookError(why, "date") from None


def _check_price(usd: object, *keys: str) -> None:
    number = isinstance(usd, int | float) and not isinstance(usd, bool)
    if not (number and 0 <= usd <= _MOST_USD):  # type: ignore[operator]
        raise PriceBookError(
            f"`{'.'.join(keys)}` is {shown(usd)}, it must be US dollars an hour: a number from 0 to {_MOST_USD:g}",
            *keys,
        )

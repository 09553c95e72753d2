"""How values are written for people: numbers with the digits that are known, without exponents, and configurations."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

from raytune_infer.report.chart import Quantity
from raytune_infer.spec.standard_knobs import NO_GPU
from searchers.space import Value

_OF_A_GPU = ("gpu_share", "gpu_memory")
"""Knobs that have an effect only with a GPU."""
_DIGITS = 4
"""Most significant digits of a measured number. Our choice: load tests of one replica differ by some per cent
(benchmarks/measuring/RESULTS.md, Repeatability), so a fourth digit is already more than they say."""

_DIGITS_OF_AN_INTERVAL = 2
"""Significant digits of the distance from an estimate to the end of its interval. Source: JCGM 100:2008 (GUM), 7.2.6:
an uncertainty has at most two, and the estimate is rounded to the same place."""

_AMBIGUOUS = re.compile(r'^"|^(True|False|None)$|\\[nrt]')
_SIGNIFICANT = re.compile(r"\.(\d+)g")


def number(value: float, low: float | None = None, high: float | None = None) -> str:
    """Return an estimate with its interval as in `3710 (3420 to 4020)`; four digits where no interval is known."""
    if low is None or high is None:
        return significant(value)
    place = _place(value, low, high)
    return f"{_to_place(value, place)} ({_to_place(low, place)} to {_to_place(high, place)})"


def quantity_text(of: Quantity, digits: str = ".4g", unit: str = "") -> str:
    """Return a quantity as in `≥ ~1740 (1690 to 1820)`; an interval decides how many digits there are.

    Args:
        of: the quantity.
        digits: format specification for it where it has no interval.
        unit: what stands right before its number, as in `≤ ~$0.18 (0.14 to 0.21)`.
    """
    alone = of.low is None or of.high is None
    return marks(of) + unit + (formatted(of.value, digits) if alone else number(of.value, of.low, of.high))


def marks(of: Quantity) -> str:
    """Return what stands before a number: "≥" or "≤" where it is a bound, "~" if the precision was not reached."""
    return ("≥ " if of.at_least else "") + ("≤ " if of.at_most else "") + ("~" if of.estimated else "")


def quantity_in_words(of: Quantity, unit: str) -> str:
    """Return a quantity as in `at least about 950 (850 to 2040) requests/s`."""
    bound = ("at least " if of.at_least else "") + ("at most " if of.at_most else "")
    return f"{bound}{'about ' if of.estimated else ''}{number(of.value, of.low, of.high)} {unit}".rstrip()


def interval(value: float, low: float, high: float) -> str:
    """Return the interval of an estimate alone, as in `3420 to 4020`, with as many digits as `number`."""
    place = _place(value, low, high)
    return f"{_to_place(low, place)} to {_to_place(high, place)}"


def estimate(value: float, low: float, high: float) -> str:
    """Return an estimate alone, with the digits that its interval supports."""
    return _to_place(value, _place(value, low, high))


def significant(value: float, digits: int = _DIGITS) -> str:
    """Return a number with so many significant digits, never with an exponent: `11840`, `0.0755`, `2`."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    text = _to_place(value, digits - 1 - _magnitude(value))
    return text.rstrip("0").rstrip(".") if "." in text else text


def formatted(value: float, form: str) -> str:
    """Return a number by a format specification; `.4g` means four significant digits, without an exponent."""
    if (found := _SIGNIFICANT.fullmatch(form)) is not None:
        return significant(value, int(found[1]))
    return format(value, form)


def spelled(config: Mapping[str, Value]) -> str:
    """Return a configuration on one line, without what has no effect in it."""
    return "  ".join(f"{name}={value_text(value)}" for name, value in in_effect(config).items())


def in_effect(config: Mapping[str, Value]) -> dict[str, Value]:
    """Return a configuration without the knobs that make no difference in it: without a GPU, parts of one."""
    without = _OF_A_GPU if config.get("gpu_type") == NO_GPU else ()
    return {name: value for name, value in config.items() if name not in without}


def value_text(value: Value) -> str:
    """Return a knob's value on one line: line ends and tabs, which a prompt may hold, are escaped.

    Different values are different in words: a text that reads as a number, as `True`, or as one with such an escape in
    it, stands in quotes.
    """
    if isinstance(value, str) and (_AMBIGUOUS.search(value) or _is_number(value)):
        return json.dumps(value, ensure_ascii=False)
    return str(value).translate({ord("\n"): r"\n", ord("\r"): r"\r", ord("\t"): r"\t"})


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _place(value: float, low: float, high: float) -> int:
    """Return the last decimal place that an interval supports: 1 for tenths, -1 for tens."""
    most = _DIGITS - 1 - _magnitude(value)
    # The nearer end: of a skewed interval it would be rounded onto the estimate, or to 0.
    nearer = min((side for side in (value - low, high - value) if side > 0), default=0.0)
    return min(most, _DIGITS_OF_AN_INTERVAL - 1 - _magnitude(nearer)) if nearer > 0 else most


def _magnitude(value: float) -> int:
    return math.floor(math.log10(abs(value))) if value else 0


def _to_place(value: float, place: int) -> str:
    return f"{round(value, place):.{max(place, 0)}f}"

"""Statistics of figures that were measured several times: median and range, variation, mean of ratios."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from scipy.stats import chi2
from scipy.stats import t as student_t


def middle(numbers: Sequence[float], form: str = ".3g", *, between: str = " to ") -> str:
    """Median and range as text; `–` if there are no numbers."""
    if not numbers:
        return "–"
    shown = f"{statistics.median(numbers):{form}}"
    return shown if len(numbers) == 1 else f"{shown} ({min(numbers):{form}}{between}{max(numbers):{form}})"


def variation(numbers: Sequence[float]) -> float:
    """Coefficient of variation: standard deviation (n - 1) ÷ mean.

    Raises:
        ValueError: there are fewer than two numbers.
    """
    if len(numbers) < 2:
        raise ValueError(f"a spread needs two numbers or more, got {len(numbers)}")
    return statistics.stdev(numbers) / statistics.fmean(numbers)


def variation_within(found: float, runs: int) -> tuple[float, float]:
    """95 % interval of a coefficient of variation that was found in so many runs.

    It is the interval of the standard deviation of normal figures, s √((n - 1) / χ²), since their mean is known far
    better than their spread.

    Raises:
        ValueError: there are fewer than two runs.
    """
    if runs < 2:
        raise ValueError(f"a spread needs two runs or more, got {runs}")
    upper, lower = (float(chi2.ppf(p, runs - 1)) for p in (0.975, 0.025))
    return found * math.sqrt((runs - 1) / upper), found * math.sqrt((runs - 1) / lower)


def mean_ratio(found: Sequence[float]) -> tuple[float, float, float]:
    """Geometric mean of ratios from several rounds, and its 95 % interval: Student's t on their logarithms.

    The interval is unbounded, from 0 to infinity, if there are fewer than two rounds.

    Raises:
        ValueError: there is no ratio, or one that is not above 0.
    """
    if not found or min(found) <= 0:
        raise ValueError(f"a mean of ratios needs one or more, all above 0, got {list(found)}")
    logs = [math.log(ratio) for ratio in found]
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        return math.exp(mean), 0.0, math.inf
    half = float(student_t.ppf(0.975, len(logs) - 1)) * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)

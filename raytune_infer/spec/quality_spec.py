"""The key `quality` of a service.yaml: how many answers are compared, and a function of the user's that scores them."""

from __future__ import annotations

import inspect
import math
import reprlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from pydantic import Field

from raytune_infer.spec.parts import Part
from serve_deployments.backend import CouldNotRun
from serve_deployments.metrics.answers.content import Content, Unanswered, plain
from serve_deployments.metrics.metric_table import ANSWER_METRICS
from serve_deployments.models.context import ModelError
from serve_deployments.models.model import Builder, callable_of

SAMPLES = 32
"""Samples whose answers are compared unless told otherwise. Our choice: a configuration that answers a tenth of the
requests otherwise is found out with 97 % confidence (1 - 0.9^32)."""

_TAKES = ("sample", "answer", "reference")


class QualitySpec(Part):
    """How the answers of configurations are compared; a text alone is the score."""

    score: str | None = Field(default=None, min_length=1, max_length=1000)
    samples: int = Field(default=SAMPLES, ge=0, le=10**6)

    def lacks(self, metric: str) -> str | None:
        """Return why this metric has no value; None if it has one, or is not of answers."""
        if metric not in ANSWER_METRICS:
            return None
        if self.samples == 0:
            return f"{metric} is of answers, which are not compared with `quality: {{samples: 0}}`; give another number"
        if metric == "quality" and self.score is None:
            return "needs a function that scores an answer: write `quality: module:function`"
        return None


class ScoreError(CouldNotRun):
    """The function that scores answers failed, or returned something else than a number."""


@dataclass(frozen=True)
class Score:
    """The function that scores an answer; it is found by its name wherever a trial runs.

    Args:
        reference: `module:function`. It is called with those of `sample`, `answer` and `reference` (the default's
            answer) that its signature takes, and returns a number, 0 or more; more is better.
        folder: folder in which its module is looked for, as a builder's is; empty for the process's own.
    """

    reference: str
    folder: str = ""

    @property
    def runs(self) -> str:
        """What code it runs, as a sentence."""
        return f"answers are scored by {self.reference}, with {self.folder} first on Python's path"

    def check(self) -> None:
        """Check that the function is there and can be called; raises ModelError."""
        self._function()

    def __call__(
        self, samples: Sequence[Any], answers: Sequence[Content | Unanswered], references: Sequence[Content]
    ) -> float:
        """Return the mean score of the answers; one that is missing scores 0.

        Raises:
            ScoreError: the function raised an exception, or returned no finite number of 0 or more.
        """
        function, taken = self._function()
        scores = []
        for number, values in enumerate(zip(samples, answers, references, strict=True), 1):
            given = dict(zip(_TAKES, values, strict=True))
            if isinstance(given["answer"], Unanswered):
                scores.append(0.0)
                continue
            try:
                # Of its own: what it changes in them must not be compared, nor be the reference of the next trial.
                found = function(**{name: deepcopy(given[name]) for name in taken})
            except (KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as error:  # the user's code may raise anything, also SystemExit or a Rust panic
                why = f"{type(error).__name__}: {error}"
                raise ScoreError(f"{self.reference} failed on sample {number}: {why}") from error
            scores.append(self._number(found, number))
        return fmean(scores)

    def _number(self, found: Any, sample: int) -> float:
        """Return what the function returned, as a number; also a truth value, or a tensor of one number."""
        content = plain(found)
        score = math.nan
        if isinstance(content, int | float | np.ndarray) and np.size(content) == 1:
            with suppress(OverflowError):  # of a whole number beyond all floats
                score = float(np.reshape(content, ()))
        if not (math.isfinite(score) and score >= 0):
            raise ScoreError(
                f"{self.reference} returned {reprlib.repr(found)} for sample {sample}; a number of 0 or more is needed"
            )
        return score

    def _function(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        """Return the function, and the names of its arguments that it is called with."""
        # A node to which the folder was sent has it as the working folder of its processes, and nowhere else.
        function = callable_of(Builder(self.reference, self.folder if Path(self.folder).is_dir() else ""))
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):  # raised for many functions that are written in C
            raise ModelError(
                f"cannot read the signature of {self.reference}; wrap it in a function of your own"
            ) from None
        anything = any(p.kind is p.VAR_KEYWORD for p in parameters)
        by_name = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        needed = {
            p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        }
        taken = tuple(name for name in _TAKES if anything or name in by_name)
        if inspect.iscoroutinefunction(function):
            raise ModelError(f"{self.reference} is `async def`; a function that returns its number is needed")
        if "answer" not in taken or needed - set(taken):
            raise ModelError(
                f"{self.reference} takes {', '.join(p.name for p in parameters) or 'nothing'}; it is called with those "
                f"of {', '.join(_TAKES)} that it names, and needs `answer`"
            )
        return function, taken

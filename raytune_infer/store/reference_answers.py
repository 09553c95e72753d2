"""The reference's answers in a run's folder, so that a study that is resumed need not ask for them again.

The file is a numpy archive: the arrays, and a JSON text in which each is named. It is read without executing code.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from raytune_infer.errors import RunError
from searchers.space import Config
from serve_deployments.metrics.answers.content import Content, Unanswered

FILE = "reference_answers.npz"
"""Name of the file in a run's folder."""

_TEXT = "answers"


@dataclass(frozen=True)
class ReferenceAnswers:
    """What the reference configuration answered.

    Args:
        config: the configuration: the default or, where that does not fit, another one.
        precision: number format in which it computes.
        numbers: which samples are compared, as positions among those that the study draws; those that the reference
            does not answer are left out.
        answers: its answer to each of them.
        again: its answers when asked a second time.
        left_out: why there are fewer samples than were to be compared; None if there are not, or where unknown.
    """

    config: Config
    precision: str
    numbers: tuple[int, ...]
    answers: tuple[Content, ...]
    again: tuple[Content | Unanswered, ...]
    left_out: str | None = None

    def __post_init__(self) -> None:
        if not self.numbers or not len(self.numbers) == len(self.answers) == len(self.again):
            raise ValueError(
                f"one or more samples are needed, with two answers each; there are {len(self.numbers)} samples, "
                f"{len(self.answers)} and {len(self.again)} answers"
            )

    @property
    def repeated(self) -> ReferenceAnswers:
        """Those samples that it answered a second time; all if there are none."""
        twice = [place for place, each in enumerate(self.again) if not isinstance(each, Unanswered)]
        if not twice:
            return self
        return replace(
            self,
            numbers=tuple(self.numbers[place] for place in twice),
            answers=tuple(self.answers[place] for place in twice),
            again=tuple(self.again[place] for place in twice),
        )


def write(folder: Path, reference: ReferenceAnswers) -> None:
    """Write the answers into a run's folder; the file is there whole or not at all. Raises OSError."""
    arrays: list[np.ndarray] = []
    table = {
        "config": reference.config,
        "precision": reference.precision,
        "numbers": list(reference.numbers),
        "answers": [_encoded(each, arrays) for each in reference.answers],
        "again": [_encoded(each, arrays) for each in reference.again],
        "left_out": reference.left_out,
    }
    unfinished = folder / f"{FILE}.new"
    with unfinished.open("wb") as file:
        named: dict[str, Any] = {f"array_{number}": array for number, array in enumerate(arrays)}
        np.savez_compressed(file, allow_pickle=False, **{_TEXT: np.array(json.dumps(table))}, **named)
    unfinished.replace(folder / FILE)


def read(folder: Path) -> ReferenceAnswers | None:
    """Return the answers in a run's folder; None if there are none. Raises RunError if they cannot be read."""
    path = folder / FILE
    try:
        with np.load(path, allow_pickle=False) as archive:
            table = json.loads(str(archive[_TEXT]))
            return ReferenceAnswers(
                config=table["config"],
                precision=table["precision"],
                numbers=tuple(table["numbers"]),
                answers=tuple(_decoded(each, archive) for each in table["answers"]),
                again=tuple(_decoded(each, archive) for each in table["again"]),
                left_out=table.get("left_out"),
            )
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise RunError(f"cannot read {path}: {error}; remove it, and the default is asked again") from None


def _encoded(content: Content | Unanswered, arrays: list[np.ndarray]) -> Any:
    """Return a content as JSON: every object has one key, which says what its value stands for."""
    match content:
        case np.ndarray():
            arrays.append(content)
            return {"array": len(arrays) - 1}
        case bytes():
            return {"bytes": base64.b64encode(content).decode()}
        case Unanswered():
            return {"unanswered": content.why}
        case dict():
            return {"mapping": {key: _encoded(each, arrays) for key, each in content.items()}}
        case list():
            return [_encoded(each, arrays) for each in content]
    return content


def _decoded(stored: Any, archive: Mapping[str, np.ndarray]) -> Content | Unanswered:
    """Return the content that `_encoded` made this of."""
    match stored:
        case {"array": int(number)}:
            return archive[f"array_{number}"]
        case {"bytes": str(text)}:
            return base64.b64decode(text)
        case {"unanswered": str(why)}:
            return Unanswered(why)
        case {"mapping": dict(inner)}:
            return {key: _decoded(each, archive) for key, each in inner.items()}
        case list():
            return [_decoded(each, archive) for each in stored]
    return stored

"""The schema of suite.json, which describes a folder of measured tables. Validated before any table is read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from raytune_infer.errors import SpecError, SuiteError
from raytune_infer.spec.document import Document, dotted
from raytune_infer.spec.goals.goal_check import check_positive, out_of_range
from raytune_infer.spec.spec_errors import At
from searchers.objective import Expression, Objective
from searchers.quantities import PRICE
from searchers.space import Value

SUITE_FILE = "suite.json"
"""Name of the file that makes a folder a suite."""

Limit = Annotated[float, Field(strict=False, allow_inf_nan=False)]


class _Part(BaseModel):
    """Base class of the parts of the file: types are not converted; unknown keys (`about`, `unit`) are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class Parameter(_Part):
    """One knob and its values, in order; an optional one does not exist in rows where its cell is empty."""

    name: str = Field(min_length=1)
    kind: Literal["ordinal", "categorical"]
    values: list[Value] = Field(min_length=1)
    optional: bool = False


class ObjectiveText(_Part):
    """A goal and its limits. Unknown keys are refused, because a misspelled one could have been a limit."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(min_length=1)
    maximize: str | None = None
    minimize: str | None = None
    at_most: dict[str, Limit] = Field(default_factory=dict)
    at_least: dict[str, Limit] = Field(default_factory=dict)


class TaskNames(_Part):
    """Names of the tasks to learn from (`source`) and of those to evaluate on (`target`)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    source: list[str] = Field(default_factory=list)
    target: list[str] = Field(default_factory=list)


class SuiteFile(_Part):
    """A complete suite.json."""

    name: str = ""
    parameters: list[Parameter] = Field(min_length=1)
    cost: str | None = None
    metrics: dict[str, Any] = Field(min_length=1)
    objectives: list[ObjectiveText] = Field(min_length=1)
    tasks: TaskNames
    groups: dict[str, str]
    descriptors: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names of all tasks, the sources first."""
        return (*self.tasks.source, *self.tasks.target)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that every table must have."""
        cost = () if self.cost is None else (self.cost,)
        return (*(p.name for p in self.parameters), *cost, *self.metrics)

    def goals(self) -> dict[str, Objective]:
        """Return the objectives by name; the name of the cost column in them is replaced by `usd_per_hour`."""
        return {o.name: _objective(o, self.cost) for o in self.objectives}


def read_suite_file(path: Path) -> SuiteFile:
    """Read and check a suite.json.

    Raises:
        SuiteError: the file is invalid; the message names file, line and key, what is allowed and the remedy.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SuiteError(f"cannot read {path}: {reason}; a suite is a folder with a suite.json in it") from None
    places = _Places(text, path)
    try:
        values = json.loads(text, object_pairs_hook=places.without_repeats)
        file = SuiteFile.model_validate(values)
    except json.JSONDecodeError as error:
        raise SuiteError(f"{path}:{error.lineno}: not valid JSON ({error.msg})") from None
    except ValidationError as error:
        raise SuiteError("\n".join(dict.fromkeys(places.explain(e) for e in error.errors()))) from None
    _check_columns(file, places)
    _check_tasks(file, places)
    _check_objectives(file, places)
    return file


class _Places:
    """Places of keys in the file, for error messages; they are looked up only when there is an error."""

    def __init__(self, text: str, path: Path) -> None:
        self._text, self._path = text, path

    def refuse(self, keys: Sequence[str | int], why: str) -> NoReturn:
        raise SuiteError(f"{self._place(keys)}: {why}")

    def without_repeats(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        for key in keys:
            if keys.count(key) > 1:
                raise SuiteError(f"{self._path}: the key {key!r} occurs twice in one object; keep one of them")
        return dict(pairs)

    def explain(self, error: Any) -> str:
        """Return the message for one of pydantic's errors."""
        keys = [key for key in error["loc"] if key not in ("str", "int", "float", "bool")]
        if error["type"] == "missing":
            return f"{self._place(keys[:-1])}: {dotted(keys[-1:])!r} is missing"
        if error["type"] == "extra_forbidden":
            part = ObjectiveText if keys[0] == "objectives" else TaskNames
            return f"{self._place(keys)}: unknown key; allowed are {', '.join(part.model_fields)}"
        return f"{self._place(keys)}: {error['msg'][0].lower()}{error['msg'][1:]}, got {error['input']!r}"

    def _place(self, keys: Sequence[str | int]) -> str:
        try:
            # Most JSON is YAML; where it is not (tabs, for example), the message names the key without a line.
            return Document(self._text, str(self._path)).place(keys)
        except SpecError:
            return f"{self._path}: {dotted(keys)}"


def _check_columns(file: SuiteFile, places: _Places) -> None:
    names = [p.name for p in file.parameters]
    for i, parameter in enumerate(file.parameters):
        if parameter.name in names[:i]:
            places.refuse(("parameters", i, "name"), f"{parameter.name!r} occurs twice; keep one of them")
        seen: set[object] = set()
        for j, value in enumerate(parameter.values):
            # Compared as they are spelled in tables, so that every cell means one value.
            if isinstance(value, float) and not math.isfinite(value):
                places.refuse(("parameters", i, "values", j), f"{value!r} is not a finite number")
            if (same := spelled(value)) in seen:
                places.refuse(("parameters", i, "values", j), f"{value!r} occurs twice; keep one of them")
            seen.add(same)
    for metric in file.metrics:
        if metric in names:
            places.refuse(("metrics", metric), "is also a parameter; a column must be one or the other")
        if metric in (file.cost, PRICE):
            places.refuse(("metrics", metric), f"is a price; name it as `cost: {metric}`, not as a metric")
    if file.cost in names:
        places.refuse(("cost",), f"{file.cost!r} is also a parameter; a column must be one or the other")


def _check_tasks(file: SuiteFile, places: _Places) -> None:
    if not file.task_names:
        places.refuse(("tasks",), "names no task; list the suite's tables under `source` or `target`")
    for part, names in (("source", file.tasks.source), ("target", file.tasks.target)):
        for i, name in enumerate(names):
            if name in names[:i]:
                places.refuse(("tasks", part, i), f"{name!r} occurs twice; keep one of them")
            if part == "target" and name in file.tasks.source:
                places.refuse(("tasks", part, i), f"{name!r} is also a source; a target must not be a source")
            if not name or Path(name).name != name:
                why = f"{name!r} is not a file name; a task needs a table TASK.csv in the suite's folder"
                places.refuse(("tasks", part, i), why)
            if name not in file.groups:
                remedy = "for a task without related ones, use its own name as the group"
                places.refuse(("groups",), f"has no group for the task {name!r}; {remedy}")
    for key, mapping in (("groups", file.groups), ("descriptors", file.descriptors)):
        for name in mapping:
            if name not in file.task_names:
                places.refuse((key, name), f"no such task; there are {some(file.task_names)}")
    for name, facts in file.descriptors.items():
        for fact, value in facts.items():
            if isinstance(value, float) and not math.isfinite(value):
                places.refuse(("descriptors", name, fact), f"{value!r} is not a finite number; leave out unknown facts")


def _check_objectives(file: SuiteFile, places: _Places) -> None:
    known = {*file.metrics, *(() if file.cost is None else (file.cost, PRICE))}
    names = [o.name for o in file.objectives]
    for i, objective in enumerate(file.objectives):
        if objective.name in names[:i]:
            places.refuse(("objectives", i, "name"), f"{objective.name!r} occurs twice; keep one of them")
        if (objective.maximize is None) == (objective.minimize is None):
            places.refuse(("objectives", i), "give either `maximize` or `minimize`")
        goal = "maximize" if objective.maximize is not None else "minimize"
        try:
            used = Expression(getattr(objective, goal)).names
        except ValueError as error:
            places.refuse(("objectives", i, goal), str(error))
        keys: list[tuple[tuple[str | int, ...], str]] = [(("objectives", i, goal), name) for name in sorted(used)]
        keys += [(("objectives", i, side, m), m) for side in ("at_most", "at_least") for m in getattr(objective, side)]
        for place, name in keys:
            if name not in known:
                places.refuse(place, f"{name!r} is not measured; there are {', '.join(sorted(known))}")
        for side, named in (("at_most", objective.at_most), ("at_least", objective.at_least)):
            for name, bound in named.items():
                if (why := out_of_range(name, bound)) is not None:
                    places.refuse(("objectives", i, side, name), why)
        try:
            check_positive(_objective(objective, file.cost))
        except At as error:
            places.refuse(("objectives", i, goal), str(error))


def _objective(text: ObjectiveText, cost: str | None) -> Objective:
    def priced(name: str) -> str:
        return PRICE if name == cost else name

    goal = text.maximize if text.maximize is not None else text.minimize
    assert goal is not None, "checked when read"
    return Objective(
        Expression(re.sub(r"[^\W\d]\w*", lambda found: priced(found[0]), goal)),
        minimize=text.minimize is not None,
        at_most={priced(name): limit for name, limit in text.at_most.items()},
        at_least={priced(name): limit for name, limit in text.at_least.items()},
    )


def spelled(value: Value | str) -> object:
    """Return a key that is equal for all spellings of one value in a table: 1, 1.0 and `1`; True and `true`."""
    text = str(value).strip()
    if text.lower() in ("true", "false"):
        return text.lower()
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text  # An engine may be called "nan", and nan equals nothing.


def some(names: Iterable[str], most: int = 12) -> str:
    """List names for a message: at most `most`, then how many more there are."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

"""The costs that plans are priced with, and the table that they are stored in."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from serve_deployments.models.context import ModelError
from serve_deployments.transform.costs.line import Line


@dataclass(frozen=True)
class Measured:
    """What costs were measured on; they hold for nothing else.

    Args:
        device: "cpu" or "cuda".
        storage: "cache" for weights whose file is in the page cache, "disk" for those that have to be read.
        machine: name of the processor or GPU.
        torch: version of torch.
        date: day of the measurement, ISO 8601.
    """

    device: str
    storage: str
    machine: str
    torch: str
    date: str = ""

    @property
    def key(self) -> str:
        """What costs are found by: all but the date."""
        return " | ".join((self.device, self.storage, self.machine, self.torch))


@dataclass(frozen=True)
class Costs:
    """Seconds of each part of a conversion; bytes are those that it works on.

    Args:
        check: of each module, to bring its plain state back to that of a fresh load.
        bind: of each tensor, to point it at other bytes.
        map: of each file, to map it.
        touch: of each byte, when mapped weights are used for the first time.
        drop: of each byte of a model that is given up, to let go of it.
        copy: of each piece of memory that the live model has, to copy other bytes into it.
        fresh: of each piece of new memory, to get it and to copy bytes into it.
        structure: of each module, to build it without memory for its tensors.
        reduce: of each operation, to drop it.
        edge: of each edge, to change it.
        add: class of an operation → cost of building one as its class does, bytes being those of its tensors.
        add_other: the same of any other class.
        replica_s: seconds to start another process that can load a model.
        measured: where this was measured.
    """

    check: Line
    bind: Line
    map: Line
    touch: Line
    drop: Line
    copy: Line
    fresh: Line
    structure: Line
    reduce: Line
    edge: Line
    add_other: Line
    measured: Measured
    add: Mapping[str, Line] = field(default_factory=dict)
    replica_s: float = 7.5
    """7 to 8 s on two cores of a server, nearly all of it imports."""

    def adding(self, type_: str) -> Line:
        """The cost of building an operation of this class."""
        return self.add.get(type_, self.add_other)

    def with_replica(self, seconds: float) -> Costs:
        """The same with another cost of a new process."""
        return replace(self, replica_s=seconds)


def to_json(costs: Costs) -> dict[str, Any]:
    """The costs as plain values."""
    return asdict(costs)


def from_json(stored: Mapping[str, Any]) -> Costs:
    """The inverse of `to_json`."""
    made: dict[str, Any] = {}
    for each in fields(Costs):
        value = stored[each.name]
        if each.name == "measured":
            made[each.name] = Measured(**value)
        elif each.name == "add":
            made[each.name] = {name: Line(**line) for name, line in value.items()}
        else:
            made[each.name] = Line(**value) if isinstance(value, Mapping) else float(value)
    return Costs(**made)


def load_costs(path: Path, wanted: Measured) -> Costs | None:
    """The stored costs of this device, storage, machine and version; None if there are none.

    Raises:
        ModelError: the file is no table of costs.
    """
    if not path.exists():
        return None
    found = _table(path).get(wanted.key)
    try:
        return None if found is None else from_json(found)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is no table of costs ({error}); remove it, and they are measured again") from None


def save_costs(path: Path, costs: Costs) -> None:
    """Adds costs to the table, in place of older ones of the same device, storage, machine and version."""
    table = _table(path) if path.exists() else {}
    table[costs.measured.key] = to_json(costs)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.write_text(json.dumps(table, indent=1, sort_keys=True), encoding="utf-8")
    fresh.replace(path)


def _table(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}); remove it, and costs are measured again") from None
    if not isinstance(table, dict):
        raise ModelError(f"{path} is no table of costs; remove it, and they are measured again")
    return table

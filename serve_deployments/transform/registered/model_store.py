"""A folder of registered models: what is known of each, and weights that several of them share once."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from serve_deployments.models.context import ModelError
from serve_deployments.transform.graph.graph import Graph, TensorSpec
from serve_deployments.transform.graph.tensors import held_tensors, spans
from serve_deployments.transform.registered.registered_model import (
    Mark,
    RegisteredModel,
    StoredBlob,
    from_json,
    to_json,
)
from serve_deployments.transform.registered.weights_file import ROOM, Entry, write

_SUFFIX = ".model.json"
_WEIGHTS = ".safetensors"
_FORM = 1  # of the file; one of another form is not read


class ModelStore:
    """Registered models in a folder, which several processes may use at once.

    Args:
        folder: the folder; made when it is not there. Its files are mapped, so it should be on a local disk.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def names(self) -> list[str]:
        """Names of the models, in alphabetical order."""
        return sorted(file.name.removesuffix(_SUFFIX) for file in self.folder.glob(f"*{_SUFFIX}"))

    def load(self, name: str) -> RegisteredModel:
        """What is known of a model.

        Raises:
            ModelError: there is no such model, its file cannot be read, or a file of its weights is gone.
        """
        path = self.folder / f"{name}{_SUFFIX}"
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored.get("form") != _FORM:
                raise ModelError(f"{path} was written by another version; register {name} again")
            model = from_json(stored)
        except FileNotFoundError:
            there = ", ".join(self.names()) or "none"
            raise ModelError(f"no model {name!r} is registered in {self.folder}; there are: {there}") from None
        except (OSError, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ModelError(f"{path} cannot be read ({error!r}); register {name} again") from None
        self.check(model)
        return model

    def check(self, model: RegisteredModel) -> None:
        """Raise `ModelError` if a file of its weights is not there, or too short."""
        ends: dict[str, int] = {}
        for blob in model.stored:
            ends[blob.file] = max(ends.get(blob.file, 0), blob.offset + blob.size_bytes)
        for file, end in ends.items():
            try:
                size = (self.folder / file).stat().st_size
            except OSError as error:
                raise ModelError(
                    f"{self.folder / file}, weights of {model.name}: {error.strerror}; register {model.name} again"
                ) from None
            if size < end:
                raise ModelError(
                    f"{self.folder / file} has {size} bytes, and {model.name} needs {end}; register {model.name} again"
                )

    def save(
        self,
        name: str,
        model: nn.Module,
        graph: Graph,
        *,
        build_s: float,
        structure_s: float,
        marks: Sequence[Mark] = (),
    ) -> RegisteredModel:
        """Keeps a model: bytes that no other model here has go into a file of its own.

        Args:
            name: the model's name; one that has it already is replaced.
            model: the model, with its weights.
            graph: its graph, with digests.
            build_s: see `RegisteredModel`.
            structure_s: likewise.
            marks: likewise.
        """
        pieces = spans(held_tensors(model))
        with self._locked():
            there = _regions(self._others(name))
            # Two tensors of one model never lie in the same place, be they alike: one may be written to.
            stored = [
                there[blob.digest].pop(0) if there.get(blob.digest) else StoredBlob("", 0, 0) for blob in graph.blobs
            ]
            new = [i for i, blob in enumerate(graph.blobs) if blob.size_bytes and not stored[i].file]
            if new:
                content = "".join(graph.blobs[i].digest for i in new)
                file = f"{hashlib.sha256(content.encode()).hexdigest()[:24]}{_WEIGHTS}"
                begins = write(self.folder / file, [_entry(graph, i, pieces[i]) for i in new])
                for i, begin in zip(new, begins, strict=True):
                    stored[i] = StoredBlob(file, begin, pieces[i].numel())
            made = RegisteredModel(name, graph, tuple(stored), build_s, structure_s, marks=tuple(marks))
            self._put(made)
        return made

    def save_without_graph(self, name: str, why_not: str, build_s: float) -> RegisteredModel:
        """Keeps of a model that it has no graph, and why."""
        made = RegisteredModel(name, Graph((), (), (), ()), (), build_s, 0.0, why_not)
        with self._locked():
            self._put(made)
        return made

    def remove(self, name: str) -> None:
        """Forgets a model, and the weights that no other one has; processes that have mapped them keep them."""
        with self._locked():
            (self.folder / f"{name}{_SUFFIX}").unlink(missing_ok=True)
            used = {file for other in self._others(None) for file in other.files}
            for file in self.folder.glob(f"*{_WEIGHTS}"):
                if file.name not in used:
                    file.unlink()

    def _put(self, model: RegisteredModel) -> None:
        path = self.folder / f"{model.name}{_SUFFIX}"
        fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
        fresh.write_text(json.dumps({"form": _FORM, **to_json(model)}), encoding="utf-8")
        fresh.replace(path)

    def _others(self, name: str | None) -> Sequence[RegisteredModel]:
        found = []
        for other in self.names():
            if other != name:
                try:
                    found.append(self.load(other))
                except ModelError:  # its files are broken; it says so when it is asked for
                    continue
        return found

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process writes at a time."""
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _regions(models: Iterable[RegisteredModel]) -> dict[str, list[StoredBlob]]:
    """Digest → the places where bytes with this digest are stored, each once, those of one file beside one another."""
    found: dict[str, dict[StoredBlob, None]] = {}
    for model in models:
        for blob, stored in zip(model.graph.blobs, model.stored, strict=False):
            if blob.size_bytes:
                found.setdefault(blob.digest, {})[stored] = None
    return {digest: sorted(each, key=lambda s: (s.file, s.offset)) for digest, each in found.items()}


def _entry(graph: Graph, blob: int, data: torch.Tensor) -> Entry:
    """The entry of a piece of memory: as the tensor that it is, if it is one."""
    inside: list[TensorSpec] = [spec for spec in graph.tensors if spec.blob == blob]
    spec = inside[0]
    name = re.sub(f"^{ROOM}", "_", spec.places[0].path)
    alone = len(inside) == 1 and spec.stride == _contiguous(spec.shape)
    return Entry(name, spec.dtype if alone else "", spec.shape, data)


def _contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    steps, step = [], 1
    for size in reversed(shape):
        steps.append(step)
        step *= size
    return tuple(reversed(steps))

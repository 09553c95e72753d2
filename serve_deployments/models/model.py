"""Checks a reference to a model before anything is started, and builds from it a function that answers a batch."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve_deployments.batches.passing_on import AnswerWait
from serve_deployments.endpoint import Payload, first_line
from serve_deployments.environment.secrets import BadSecret, revealed
from serve_deployments.models.context import ModelContext, ModelError
from serve_deployments.models.loader import Loader
from serve_deployments.models.loaders import LOADERS
from serve_deployments.models.mistaken import instead_of_file, instead_of_hub
from serve_deployments.models.rows import checked, gathered, streams
from serve_deployments.models.service_folder import inside
from serve_deployments.models.signatures import accepted, bind

BatchFunction = Callable[[list[Payload]], list[Any]] | Callable[[list[Payload]], Awaitable[list[Any]]]
"""A function that returns one result for each payload, in order. `inspect.iscoroutinefunction` says whether to await
it."""


_NAMED = 20  # largest number of a module's names that an error lists; our choice


@dataclass(frozen=True)
class Builder:
    """A model that is built by code.

    Args:
        reference: `module:callable`. It is called with the model's arguments and with those fields of `ModelContext`
            that its signature names, and returns a function, synchronous or not, from a list of payloads to a list of
            as many results. It may be asynchronous itself. With `concurrent`, it may also return an asynchronous
            generator function from one payload to the parts of its answer, of which the last may be `endpoint.Sizes`.
        folder: see `service_folder`; empty for the process's own.
        concurrent: whether the function is called for each request as it comes, by itself and while other calls run,
            as engines want it that batch for themselves; else for one batch after the other. None: not said.
        ours: whether the code is of this project, so that nothing is imported from the folder.
        wait: how long such a request waits for its answer; None: for ever. A batch is waited for by whoever changes
            the replica.
    """

    reference: str
    folder: str = ""
    concurrent: bool | None = None
    wait: AnswerWait | None = None
    ours: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w+(\.\w+)*:\w+(\.\w+)*", self.reference):
            raise ModelError(f"{self.reference!r} is not of the form module:callable{instead_of_file(self.reference)}")


@dataclass(frozen=True)
class ModelFiles:
    """A model that is loaded from a folder or file of weights.

    Args:
        path: a path on disk, or `package:NAME/sub/folder` inside an installed package, which is not imported.
        loader: name of one of `LOADERS`; None: it is guessed, if that is unambiguous and safe.
        folder: see `service_folder`; empty for the process's own.
    """

    path: str
    loader: str | None = None
    folder: str = ""

    def __post_init__(self) -> None:
        if self.loader is not None and self.loader not in LOADERS:
            raise ModelError(f"unknown loader {self.loader!r}; use one of {', '.join(LOADERS)}")


ModelSource = Builder | ModelFiles


def identity(source: ModelSource) -> str:
    """A string that identifies the model without its arguments: equal for the same code, or same weights and loader."""
    return repr(source)


def check(source: ModelSource, args: Mapping[str, Any]) -> None:
    """Checks a model as far as possible without reading weights; a builder's module is imported.

    Raises:
        ModelError: the model cannot be built like this; the message says how to fix it.
    """
    if isinstance(source, Builder):
        bind(source.reference, _find(source), {**accepted(_find(source), ModelContext()), **args})
        return
    path, loader = locate(source)
    missing = [name for name in loader.needs if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(f"loader {loader.name!r} needs {', '.join(missing)}, not installed; {loader.remedy}")
    loader.check(path)
    bind(f"loader {loader.name!r}", loader.build, args, path, ModelContext())


def check_precisions(source: ModelSource, precisions: Iterable[str]) -> None:
    """Checks that the model supports these precisions: that none would fail, or have no effect.

    Raises:
        ModelError: a precision is not supported; the message says which are, or what to change.
    """
    if isinstance(source, Builder):
        if "precision" not in accepted(_find(source), ModelContext()):
            raise ModelError(
                f"{source.reference} takes no argument `precision`, so such a knob would change nothing; "
                "add the argument to it (and functools.wraps to a decorator of it), or remove the knob"
            )
        return
    _, loader = locate(source)
    if odd := [p for p in precisions if p not in loader.precisions]:
        raise ModelError(
            f"loader {loader.name!r} does not support {', '.join(odd)}; it supports {', '.join(loader.precisions)}"
        )


def load(source: ModelSource, args: Mapping[str, Any], context: ModelContext) -> BatchFunction:
    """Loads or builds a model whose builder is not asynchronous, ready to answer batches.

    Raises:
        ModelError: as in `construct` and `as_batch`.
    """
    return as_batch(source, construct(source, args, context))


def construct(source: ModelSource, args: Mapping[str, Any], context: ModelContext) -> Any:
    """Calls the loader or the builder; returns what it does, which is awaitable if the builder is asynchronous.

    Raises:
        ModelError: as in `check`.
    """
    check(source, args)
    try:
        args = revealed(args)
    except BadSecret as error:
        raise ModelError(str(error)) from None
    if isinstance(source, ModelFiles):
        path, loader = locate(source)
        return loader.build(path, context, **args)
    builder = _find(source)
    return builder(**{**accepted(builder, context), **args})


def as_batch(source: ModelSource, built: Any) -> BatchFunction:
    """The function that answers batches, from what the loader or the builder has returned.

    Raises:
        ModelError: that is not callable. The returned function raises it too, if the model returns another number of
            results than it got payloads.
    """
    what = source.reference if isinstance(source, Builder) else locate(source)[1].name
    if not callable(built):
        raise ModelError(
            f"{what} returned {type(built).__name__}, expected a function from a list of payloads to a list of results"
        )
    if streams(built):
        if not (isinstance(source, Builder) and source.concurrent):
            raise ModelError(
                f"{what} returned an asynchronous generator function, which answers one request in parts; "
                "write `concurrent: true` under `model`"
            )
        return _streaming(built)
    return _counted(built, what)


def _streaming(built: Callable[[Payload], AsyncIterator[Any]]) -> BatchFunction:
    """The function that answers requests as a whole; `stream`, an attribute of it, answers one in parts."""

    async def answer_whole(payloads: list[Payload]) -> list[Any]:
        return [await gathered(built(payload)) for payload in payloads]

    vars(answer_whole).update(built=built, stream=built)  # `built` is for `hooks`
    return answer_whole


def caution(source: ModelSource) -> str | None:
    """What code a model runs, or may run when its files are read, as a sentence; None if it is only read."""
    if isinstance(source, Builder) and source.ours:
        return None
    if isinstance(source, Builder):
        where = f", with {source.folder} first on Python's path" if source.folder else ""
        return f"this runs {source.reference}{where}"
    if not locate(source)[1].executes:
        return None
    return (
        f"loader {source.loader!r} may execute code from {source.path}: go on only if you trust where the file comes "
        "from; safetensors and onnx execute none"
    )


def consumes(source: ModelSource) -> frozenset[str]:
    """Names of the fields of `ModelContext` that the model is built with: if one changes, the model must be rebuilt."""
    if isinstance(source, Builder):
        return frozenset(accepted(_find(source), ModelContext()))
    return locate(source)[1].consumes


def locate(source: ModelFiles) -> tuple[Path, Loader]:
    """The path on disk and the loader of a model's weights.

    Raises:
        ModelError: there is nothing at the path, or no loader can be guessed.
    """
    try:
        path = _path(source.path)
        there = path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, `~someone`, a package without a file
        raise ModelError(f"cannot look for a model at {source.path!r}: {error}") from None
    if not there:
        written = f" ({source.path})" if str(path) != source.path else ""
        raise ModelError(f"model path {path}{written} does not exist{instead_of_hub(source.path, source.folder)}")
    if not path.is_file() and not path.is_dir():  # reading it may never end
        raise ModelError(f"model path {path} is a pipe, a device or a socket; a regular file or a folder is needed")
    if source.loader is not None:
        return path, LOADERS[source.loader]
    for loader in LOADERS.values():
        if loader.guesses(path):
            return path, loader
    raise ModelError(
        f"cannot tell which loader {path} needs; set `loader` to one of {', '.join(LOADERS)}. Only folders with "
        "config.json (transformers) and .onnx files are detected automatically: other files may execute code when read"
    )


def _path(text: str) -> Path:
    if not text.startswith("package:"):
        return Path(text).expanduser()
    name, _, inside = text.removeprefix("package:").partition("/")
    # Only top-level names: finding a dotted one would import its parents.
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"package {name!r} of {text!r} is not installed; pip install it, or give a path on disk")
    return Path(spec.submodule_search_locations[0]) / inside


def callable_of(source: Builder) -> Callable[..., Any]:
    """The function or class that `module:callable` names; its module is imported. Raises ModelError."""
    return _find(source)


def _find(source: Builder) -> Callable[..., Any]:
    module_name, _, name = source.reference.partition(":")
    try:
        with inside("" if source.ours else source.folder):
            found: Any = importlib.import_module(module_name)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # a user's module may raise anything at import, also SystemExit or a Rust panic
        raise ModelError(
            f"cannot import {module_name!r} of {source.reference!r}: {first_line(error)}"
            + (instead_of_file(source.reference) or "; is it installed or on PYTHONPATH?")
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            public = [name for name in dir(found) if not name.startswith("_")]
            there = ", ".join(public[:_NAMED] + ["…"] * (len(public) > _NAMED)) or "nothing"
            raise ModelError(f"{source.reference!r}: {module_name} has no {part!r}; it has {there}")
        found = getattr(found, part)
    if not callable(found):
        raise ModelError(f"{source.reference!r} is {type(found).__name__}, expected a function or class")
    return found


def _counted(batch: Callable[..., Any], what: str) -> BatchFunction:
    """The function with a check of what it returns (`rows.checked`)."""

    def answer(payloads: list[Payload]) -> list[Any]:
        return checked(what, payloads, batch(list(payloads)))

    async def answer_later(payloads: list[Payload]) -> list[Any]:
        return checked(what, payloads, await batch(list(payloads)))

    is_async = inspect.iscoroutinefunction(batch) or inspect.iscoroutinefunction(type(batch).__call__)
    counted = answer_later if is_async else answer
    vars(counted)["built"] = batch  # for `hooks`
    return counted


def is_emulated(source: ModelSource) -> bool:
    """Whether the model only emulates computing, which its builder marks by an attribute `emulated`."""
    return isinstance(source, Builder) and bool(getattr(_find(source), "emulated", False))

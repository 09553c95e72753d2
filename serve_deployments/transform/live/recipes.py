"""The recipe of a service's model: what its loader or builder makes, and how its structure comes without weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn

from serve_deployments.models.context import ModelContext
from serve_deployments.models.model import Builder, ModelSource, construct, locate
from serve_deployments.transform.graph.found_module import module_in
from serve_deployments.transform.registered.registered_model import Recipe


def recipe_of(name: str, source: ModelSource, args: Mapping[str, Any], context: ModelContext) -> Recipe:
    """The recipe of a model that a service runs.

    Args:
        name: the model's name.
        source: where it comes from.
        args: arguments of its builder or loader.
        context: the replica that runs it.

    Raises:
        ModelError: the name cannot be a model's, or there is nothing at the source's path.
    """
    structure = None
    if not isinstance(source, Builder):
        path, loader = locate(source)
        if loader.structure is not None:
            structure = partial(loader.structure, path, context, **args)
    return Recipe(name, partial(_module, name, source, dict(args), context), structure)


def _module(name: str, source: ModelSource, args: Mapping[str, Any], context: ModelContext) -> nn.Module:
    """The torch module in what the source makes; raises NoGraph if there is not exactly one."""
    return module_in(construct(source, args, context), name)

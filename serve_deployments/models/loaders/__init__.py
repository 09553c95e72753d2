"""The available loaders: each is the `LOADER` of a module that is listed here."""

from __future__ import annotations

from importlib import import_module

from serve_deployments.models.loader import Loader

_MODULES = (
    "serve_deployments.models.loaders.transformers",
    "serve_deployments.models.loaders.pt2",
    "serve_deployments.models.loaders.onnx",
    "serve_deployments.models.loaders.torchscript",
)

LOADERS: dict[str, Loader] = {}
for _module in _MODULES:
    _loader: Loader = import_module(_module).LOADER
    LOADERS[_loader.name] = _loader

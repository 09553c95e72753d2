"""Imports every module of the installed packages; what is missing must be something that only an extra brings."""

import importlib
import pkgutil
import sys
import warnings

EXTRAS = {"botorch", "gpytorch", "linear_operator", "matplotlib", "onnxruntime", "optuna", "transformers"}

warnings.simplefilter("ignore")
undeclared = []
for package in ("raytune_infer", "searchers", "serve_deployments", "cluster"):
    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if found.name.endswith("__main__"):
            continue  # that is the command line
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in EXTRAS:
                undeclared.append(f"{found.name}: {error}")
sys.exit("\n".join(undeclared) or None)

"""The common part of the cards of weights files: their format, and the command that reproduces them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

_LIBRARIES = ("torch", "numpy")
"""Libraries that training computes with; other versions may give weights that differ in their last digits."""


def libraries() -> str:
    """Return the versions of the libraries that training computes with, for the card."""
    return ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)


def recipe_table(recipe: Mapping[str, Any]) -> str:
    """Return the parameters of a training as a table in markdown; several values of one parameter are a list."""
    cells = {name: ", ".join(map(str, v)) if isinstance(v, list | tuple) else str(v) for name, v in recipe.items()}
    return "\n".join(["| recipe | |", "|:---|---:|", *(f"| {name} | {cell} |" for name, cell in cells.items())])


def how_it_is_made(model: str, *, steps: int, seed: int, measured: int = 0) -> str:
    """Return the section of a card on format and reproduction, as markdown.

    Args:
        model: name of the model for `meta-train --model`.
        steps: number of training steps.
        seed: seed of everything random.
        measured: number of studies it learned from; the card cannot say where these are now.
    """
    words = ["raytune-infer", "meta-train", "--model", model, "--steps", str(steps), "--seed", str(seed)]
    words += [*(["--from", "STUDIES"] if measured else []), "--out", f"{model}.safetensors"]
    return f"""\
**Format.** safetensors: tensors by name, and in the header as JSON what is no tensor, with the figures of this card
(`searchers/pretrained/weights_file.py`).

**To make it again**, and this card beside it:

```
{shlex.join(words)}
```

The same revision, libraries and kind of processor give the same tensors to the last bit."""

"""What the card of a file of weights says of every such file: its format, and the one command that makes it again."""

from __future__ import annotations

import shlex
from importlib.metadata import version

_LIBRARIES = ("torch", "numpy")
"""What a training computes with; another version may give weights that differ in their last digits."""


def libraries() -> str:
    """The versions that a training computes with, for its card."""
    return ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)


def how_it_is_made(model: str, *, steps: int, seed: int, measured: int = 0) -> str:
    """The part of a card on this, as markdown.

    Args:
        model: whose weights, as `meta-train --model` names them.
        steps: of training.
        seed: of everything random.
        measured: how many studies it learned from; the card cannot say where these are now.
    """
    words = ["raytune-infer", "meta-train", "--model", model, "--steps", str(steps), "--seed", str(seed)]
    words += [*(["--from", "STUDIES"] if measured else []), "--out", f"{model}.safetensors"]
    return f"""\
**Format.** safetensors: tensors by name, and in the header as JSON what is no tensor, with the figures of this card
(`searchers/weights_file.py`).

**To make it again**, and this card beside it:

```
{shlex.join(words)}
```

The same revision, libraries and kind of processor give the same tensors to the last bit."""

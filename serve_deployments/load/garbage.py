"""The garbage collector of a process that sends load, which must not stop it in the middle of a level."""

from __future__ import annotations

import gc


def set_aside() -> None:
    """Takes all objects that there are now out of later collections; what is garbage by now is collected first.

    Ray, torch and what else is imported are some hundred thousand objects. To go through all of them stops a sender for
    a sixth of a second, several times in a level of some hundred requests/s (4 to 9 ms without them, on two busy
    cores): all answers that come meanwhile look late by that.
    """
    gc.unfreeze()  # what was set aside for an earlier target may be garbage by now
    gc.collect()
    gc.freeze()

"""The garbage collector of a process that serves one model, which must not stop it in the middle of the load."""

from __future__ import annotations

import gc


class SetAside:
    """Takes a model that is ready, and all that was imported for it, out of later collections, and puts them back.

    Not where the model's own code manages the collector: if it has disabled it, or has frozen objects while the model
    was made ready, both stay as it has set them.

    Args:
        ours: whether the process is the model's alone; otherwise nothing is done.
    """

    def __init__(self, *, ours: bool) -> None:
        self._is_set, self._is_theirs = False, not ours
        self._frozen_before = gc.get_freeze_count()

    def put_back(self) -> None:
        """To be called before a model is built, changed or closed: what refers to itself in it can be collected then.

        What others froze before the first model, as Serve does when a replica has started, is put back with the rest.
        """
        if self._is_set:
            gc.unfreeze()
            self._is_set = False
        if not self._is_theirs:
            self._frozen_before = gc.get_freeze_count()

    def set_aside(self) -> None:
        """To be called once the model is ready; does nothing if it is set aside already."""
        # Less may be frozen than before, as what is freed meanwhile does not count any more.
        self._is_theirs = self._is_theirs or not gc.isenabled() or gc.get_freeze_count() > self._frozen_before
        if self._is_set or self._is_theirs:
            return
        gc.collect()
        gc.freeze()
        self._is_set = True

"""A user who interrupts a run."""

from raytune_infer.progress import Silent


class StopAfter(Silent):
    """Interrupts the run as a user does, once so many trials have ended."""

    def __init__(self, trials: int) -> None:
        self.left = trials

    def finished(self, trial) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

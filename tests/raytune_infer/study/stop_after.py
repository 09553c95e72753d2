"""A user who interrupts a run."""

from raytune_infer.study.progress import Silent


class StopAfter(Silent):
    """Interrupts the run as a user does, once so many trials have ended."""

    def __init__(self, trials: int) -> None:
        self.left = trials

    def finished(self, trial) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


class Notes(StopAfter):
    """Keeps what is told; interrupts the run only where that is asked for."""

    def __init__(self, trials: int = 999) -> None:
        super().__init__(trials)
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)

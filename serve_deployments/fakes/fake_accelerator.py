"""An accelerator of CPU memory whose copies are late: what does not wait for them reads rubbish."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


class FakeEvent:
    """Set once the work recorded before it is done."""

    def __init__(self) -> None:
        self.stream: FakeStream | None = None

    def synchronize(self) -> None:
        """Has that work done."""
        if self.stream is not None:
            self.stream.run_all()


class FakeStream:
    """Work in order, done only when someone waits for it, at the latest possible time.

    Args:
        name: for the journal.
        journal: where it is noted what waited for what.
    """

    def __init__(self, name: str, journal: list[str]) -> None:
        self.name = name
        self._journal = journal
        self._work: list[Callable[[], object]] = []

    def put(self, work: Callable[[], object]) -> None:
        """More work."""
        self._work.append(work)

    def run_all(self) -> None:
        """Do what there is."""
        work, self._work = self._work, []
        for one in work:
            one()

    synchronize = run_all

    def record_event(self, event: FakeEvent) -> FakeEvent:
        """The event is set after all that is here now."""
        event.stream = self
        return event

    def wait_event(self, event: FakeEvent) -> None:
        """What comes later here comes after the event."""
        assert event.stream is not None, "an event that nothing recorded is no reason to wait"
        self._journal.append(f"{self.name} waits for {event.stream.name}")
        self.put(event.stream.run_all)


class FakeAccelerator:
    """Streams and memory of a device, without the device.

    `allocated` has the bytes of all memory that was made, `owners` the streams that the device's part of it belongs to.
    Copies are put off until they are waited for; computing is not, as the model is real torch code, but what its stream
    waits for is done first.

    Args:
        cannot_record: what a capture fails with; None: it works.
    """

    def __init__(self, cannot_record: Exception | None = None) -> None:
        self.journal: list[str] = []
        self.allocated: list[int] = []
        self.owners: list[str] = []
        self._cannot_record = cannot_record
        self._names = iter(("copy in", "copy out", "more"))
        self._current: FakeStream | None = None

    def staging(self, size_bytes: int) -> torch.Tensor:
        """Rubbish, as new memory is."""
        self.allocated.append(size_bytes)
        return torch.full((size_bytes,), 0xA5, dtype=torch.uint8)

    def memory(self, size_bytes: int) -> torch.Tensor:
        """The same, of the current stream."""
        assert self._current is not None, "memory of a device belongs to a stream"
        self.owners.append(self._current.name)
        return self.staging(size_bytes)

    def compute_stream(self) -> FakeStream:
        """The one that computes."""
        return FakeStream("compute", self.journal)

    def copy_stream(self) -> FakeStream:
        """First the one for copies in, then the one for copies out."""
        return FakeStream(next(self._names), self.journal)

    @contextmanager
    def on(self, stream: Any) -> Iterator[None]:
        """Work goes to this stream meanwhile."""
        before, self._current = self._current, stream
        if stream.name == "compute":
            stream.run_all()
        try:
            yield
        finally:
            self._current = before

    def event(self) -> FakeEvent:
        """A new event."""
        return FakeEvent()

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """Later, unless computing goes on in the same stream."""
        assert self._current is not None, "a copy belongs in a stream"
        self.journal.append(self._current.name)

        def move() -> None:
            with torch.inference_mode():
                target.copy_(source)

        if self._current.name == "compute":
            move()
        else:
            self._current.put(move)

    def capture(self, run: Callable[[], None], stream: Any) -> Callable[[], None]:
        """A replay does the same again on the same memory, as a graph's does."""
        if self._cannot_record is not None:
            raise self._cannot_record
        self.journal.append("record")
        return run

"""A fake accelerator in CPU memory whose copies are delayed: code that does not wait for them reads garbage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


class FakeEvent:
    """An event that is set once the work recorded before it is done."""

    def __init__(self) -> None:
        self.stream: FakeStream | None = None

    def synchronize(self) -> None:
        """Runs that work, and so sets the event."""
        if self.stream is not None:
            self.stream.run_all()


class FakeStream:
    """A stream whose work is run in order and only when someone waits for it: at the latest possible time.

    Args:
        name: name of the stream in the journal.
        journal: list to which is appended which stream waited for which.
    """

    def __init__(self, name: str, journal: list[str]) -> None:
        self.name = name
        self._journal = journal
        self._work: list[Callable[[], object]] = []

    def put(self, work: Callable[[], object]) -> None:
        """Appends work."""
        self._work.append(work)

    def run_all(self) -> None:
        """Runs all work that is in the stream."""
        work, self._work = self._work, []
        for one in work:
            one()

    synchronize = run_all

    def record_event(self, event: FakeEvent) -> FakeEvent:
        """Sets the event after all work that is in the stream now."""
        event.stream = self
        return event

    def wait_event(self, event: FakeEvent) -> None:
        """Makes later work of this stream wait for the event."""
        assert event.stream is not None, "an event that nothing recorded is no reason to wait"
        self._journal.append(f"{self.name} waits for {event.stream.name}")
        self.put(event.stream.run_all)


class FakeAccelerator:
    """A fake device: streams and memory without the hardware.

    `allocated` lists the sizes of all allocations in bytes, `owners` the streams to which the device memory among them
    belongs. Copies are delayed until something waits for them. Computing is not, as the model is real torch code; but
    the work that its stream waits for is run first.

    Args:
        cannot_record: exception that a capture raises; None: captures work.
    """

    def __init__(self, cannot_record: Exception | None = None) -> None:
        self.journal: list[str] = []
        self.allocated: list[int] = []
        self.owners: list[str] = []
        self._cannot_record = cannot_record
        self._names = iter(("copy in", "copy out", "more"))
        self._current: FakeStream | None = None

    def staging(self, size_bytes: int) -> torch.Tensor:
        """Bytes filled with garbage, like new memory."""
        self.allocated.append(size_bytes)
        return torch.full((size_bytes,), 0xA5, dtype=torch.uint8)

    def memory(self, size_bytes: int) -> torch.Tensor:
        """Bytes filled with garbage that belong to the current stream."""
        assert self._current is not None, "memory of a device belongs to a stream"
        self.owners.append(self._current.name)
        return self.staging(size_bytes)

    def compute_stream(self) -> FakeStream:
        """A stream for computing."""
        return FakeStream("compute", self.journal)

    def copy_stream(self) -> FakeStream:
        """A stream for copies: first the one for copies in, then the one for copies out."""
        return FakeStream(next(self._names), self.journal)

    @contextmanager
    def on(self, stream: Any) -> Iterator[None]:
        """Makes a stream the current one within the context."""
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
        """Copies later, or at once if the compute stream is current."""
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
        """Returns `run` itself: a replay does the same on the same memory, like that of a CUDA graph."""
        if self._cannot_record is not None:
            raise self._cannot_record
        self.journal.append("record")
        return run

    def forget_recordings(self) -> None:
        """Notes that the scratch memory of recordings is free."""
        self.journal.append("forget")

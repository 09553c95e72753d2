"""Server-sent events, in which OpenAI endpoints stream: bytes in any pieces in, the data of each event out.

https://html.spec.whatwg.org/multipage/server-sent-events.html, of which such endpoints use only `data`.
"""

from __future__ import annotations

from collections.abc import Iterator


class EventData:
    """The data of events, as their last byte arrives: an event may come in pieces, and a piece hold several."""

    def __init__(self) -> None:
        self._left = b""

    def feed(self, piece: bytes) -> Iterator[str]:
        """The data of each event that ends in this piece."""
        *lines, self._left = (self._left + piece).split(b"\n")
        data: list[bytes] = []
        for line in lines:
            line = line.rstrip(b"\r")
            if line.startswith(b"data:"):
                # Such endpoints send one line of data an event; to wait for the empty line after it would gain nothing.
                data.append(line[5:].lstrip())
        yield from (each.decode("utf-8", errors="replace") for each in data)

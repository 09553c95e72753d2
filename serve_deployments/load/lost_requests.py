"""Which requests in flight were dropped: nobody says so of a request, and only those that were sent after it can tell.

How long a service takes is not known beforehand, and a whole machine may stall. So time alone tells nothing of a
request, but two things together do: it has waited many times as long as any other of its level, and such as were sent
later, after it had waited so long, have been answered. In a stall nobody is answered.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from serve_deployments.endpoint import TURNS


@dataclass
class LostRequests:
    """What one sender knows of its answers, and so of the requests that have none.

    A request may be lost once it waits `TURNS` times as long as the longest answer of its level, which is known after
    as many answers.

    If one that was taken for lost is answered after all, the service's requests differ too much for anybody to tell,
    and none is taken for lost any more.
    """

    _longest_s: float = 0.0
    _answers: int = 0
    _newest: int = -1  # of the requests that were answered
    _suspected: dict[int, int] = field(default_factory=dict)  # with the number of the first one sent after that
    _mistaken: bool = False

    def begin(self) -> None:
        """Begins a level: answers may take longer or shorter from now on."""
        self._longest_s, self._answers = 0.0, 0

    def ended(self, number: int) -> None:
        """Request `number` needs no more looking after."""
        self._suspected.pop(number, None)

    def answered(self, number: int, took_s: float, *, was_lost: bool = False) -> None:
        """Request `number` was answered.

        Args:
            number: requests are numbered in the order in which they are sent.
            took_s: seconds since it was due.
            was_lost: whether it had been taken for lost.
        """
        self._answers += 1
        self._newest = max(self._newest, number)
        self._longest_s = max(self._longest_s, took_s)
        self._mistaken = self._mistaken or was_lost

    def look(self, due_s: Mapping[int, float], sent: int, now_s: float) -> tuple[list[int], list[int]]:
        """Which requests have waited so long that they may be lost, each said once; and which of all these are lost.

        Args:
            due_s: when each request in flight was due, in the order of their numbers.
            sent: number of requests that have been sent; the next one has this number.
            now_s: the time.
        """
        if self._mistaken or self._answers < max(TURNS, len(due_s)):  # those in flight may be the slower ones
            return [], []
        suspected, lost = [], []
        for number, since_s in due_s.items():
            if now_s - since_s <= TURNS * self._longest_s:
                break
            if number not in self._suspected and self._is_left_behind(number, sent):
                self._suspected[number] = sent
                suspected.append(number)
            elif self._newest >= self._suspected.get(number, math.inf):
                lost.append(number)
        return suspected, lost

    def left(self, in_flight: Iterable[int]) -> list[int]:
        """Those of the requests in flight that are lost where no more are sent: later ones were answered long ago."""
        if self._mistaken:
            return []
        return [number for number in in_flight if number in self._suspected and self._newest > number]

    def _is_left_behind(self, number: int, sent: int) -> bool:
        """Whether a later request was answered; or none was sent, as where one client waits, and one more may tell."""
        return self._newest > number or (number == sent - 1 and not self._suspected)

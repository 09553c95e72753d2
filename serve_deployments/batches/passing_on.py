"""Requests are passed on one by one: for models that batch for themselves."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from serve_deployments.endpoint import DescribedError


@dataclass(frozen=True)
class AnswerWait:
    """How long a request waits for its answer before it counts as one that the model dropped.

    An engine that loses a request says nothing, and serves the others on: only time can tell.

    Args:
        least_s: shortest wait in seconds.
        first_s: wait in seconds while nothing has been answered yet, so that nothing is known of the model.
        most_s: longest wait in seconds.
        turns: the wait as a multiple of the longest answer so far, within these bounds.
    """

    least_s: float
    first_s: float
    most_s: float
    turns: float

    def __post_init__(self) -> None:
        if not 0 < self.least_s <= self.first_s <= self.most_s or self.turns < 1:
            raise ValueError(
                f"a wait for answers needs 0 < least_s <= first_s <= most_s and turns of 1 or more, got {self}"
            )

    @classmethod
    def always(cls, seconds: float) -> AnswerWait:
        """The same wait whatever the answers took so far."""
        return cls(seconds, seconds, seconds, 1)

    def until_s(self, longest_s: float) -> float:
        """Seconds to wait where the longest answer so far took `longest_s`; 0: there was none."""
        return min(self.most_s, max(self.least_s, self.turns * longest_s)) if longest_s else self.first_s


class PassingOn:
    """Calls the model for each request as it comes, whatever calls run already; the counterpart of `DynamicBatching`.

    Args:
        call: runs one call of the model, with one payload; returns one result.
        wait_s: seconds after which a call is given up; asked again each time that one may be due, as what is known of
            the model grows.
    """

    def __init__(
        self, call: Callable[[list[Any]], Awaitable[list[Any]]], wait_s: Callable[[], float] = lambda: math.inf
    ) -> None:
        self._call, self._wait_s = call, wait_s
        self._running = 0  # number of calls
        # When each call began, the oldest first. It also keeps the calls: asyncio itself refers to a waiting task only
        # weakly, so that one whose future the model has dropped would be collected, and its caller never told.
        self._began_s: dict[asyncio.Timeout, float] = {}
        self._look: asyncio.Handle | None = None  # timer of the next look for overdue calls; one for all of them

    async def __call__(self, payload: Any) -> Any:
        """The result for this payload; raises what the model's call raises, or DescribedError if it is given up."""
        self._running += 1
        began_s, limit = asyncio.get_running_loop().time(), asyncio.timeout(None)
        try:
            async with limit:
                self._began_s[limit] = began_s
                self._look_later()
                [row] = await self._call([payload])
        except TimeoutError:
            if not limit.expired():
                raise
            waited_s = asyncio.get_running_loop().time() - began_s
            raise DescribedError(f"the model never answered this request: given up after {waited_s:.3g} s") from None
        finally:
            self._began_s.pop(limit, None)
            self._running -= 1
        return row

    @property
    def idle(self) -> bool:
        """Whether no call runs."""
        return not self._running

    def refuse(self, error: Exception) -> None:
        """Does nothing: no request waits here."""

    def _look_later(self) -> None:
        """Look for overdue calls when the oldest may be one."""
        if self._look is None and self._began_s and math.isfinite(wait_s := self._wait_s()):
            oldest_s = next(iter(self._began_s.values()))
            self._look = asyncio.get_running_loop().call_at(oldest_s + wait_s, self._give_up)

    def _give_up(self) -> None:
        self._look = None
        until_s = asyncio.get_running_loop().time() - self._wait_s()
        for limit in [limit for limit, began_s in self._began_s.items() if began_s <= until_s]:
            del self._began_s[limit]
            limit.reschedule(0.0)  # a time that has passed
        self._look_later()

"""How fast a server is asked: a bounded number at a time, fewer of them and later when it says that it is too much.

A rate limit is one of the account, not of a request, so what a server says to one request holds for all.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator

logger = logging.getLogger(__name__)

_FIRST_SILENCE_S, _MAX_SILENCE_S = 0.5, 8.0


class Pace:
    """Lets requests to one server through. Belongs to one event loop.

    Args:
        max_in_flight: at most so many are on their way at any time. A server that wants fewer gets half of them, and
            one more again whenever as many as are allowed have gone well: multiplicative decrease and additive
            increase, as TCP has it.
    """

    def __init__(self, max_in_flight: int):
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight must be at least 1, got {max_in_flight}")
        self.max_in_flight = max_in_flight
        self._limit = float(max_in_flight)
        self.in_flight = 0
        self.silences = 0
        self._hold_until = 0.0
        self._last_cut = 0.0
        self._waiting: collections.deque[asyncio.Future] = collections.deque()

    @property
    def limit(self) -> int:
        """How many may be on their way now."""
        return int(self._limit)

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[float]:
        """Wait for a turn, in the order of asking, and take it. Gives the time at which it began, for the methods
        below."""
        await self._enter()
        try:
            yield time.monotonic()
        finally:
            self._leave()

    async def _enter(self) -> None:
        while True:
            await self._take_place()
            try:
                while (hold_s := self._hold_until - time.monotonic()) > 0:
                    await asyncio.sleep(hold_s)
            except asyncio.CancelledError:
                self._leave()
                raise
            if self.in_flight <= self.limit:
                return
            self._leave()  # the limit was lowered meanwhile

    async def _take_place(self) -> None:
        if self.in_flight < self.limit and not self._waiting:
            self.in_flight += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place  # whoever resolves it has counted it already
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._leave()
            raise

    def _leave(self) -> None:
        self.in_flight -= 1
        self._wake()

    def _wake(self) -> None:
        while self.in_flight < self.limit and self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                self.in_flight += 1
                place.set_result(None)

    def went_well(self) -> None:
        """A request was answered."""
        self.silences = 0
        if self._limit < self.max_in_flight:
            self._limit = min(self._limit + 1.0 / self._limit, self.max_in_flight)
            self._wake()

    def was_reached(self) -> None:
        """The server spoke, though what it said was no answer."""
        self.silences = 0

    def slow_down(self, began: float, wait_s: float) -> None:
        """The server wants less. The first of a crowd that set out together halves the number, each other one of them
        takes one off, so that a crowd that was far too large does not run into the limit again and again."""
        self.silences = 0
        self._hold(wait_s)
        if began < self._last_cut:
            self._limit = max(1.0, self._limit - 1.0)
        else:
            self._limit = max(1.0, self._limit / 2.0)
            self._last_cut = time.monotonic()
            logger.info("the server wants fewer requests: %d at a time, in %.1f s", self.limit, wait_s)

    def found_nobody(self, began: float) -> int:
        """No connection could be made. Everyone waits, longer each time, and then one goes ahead.

        Returns:
            How many times in a row there was nobody. A crowd that set out together counts once.
        """
        if began >= self._last_cut:
            self.silences += 1
            wait_s = min(_MAX_SILENCE_S, _FIRST_SILENCE_S * 2.0 ** (self.silences - 1)) * random.uniform(0.75, 1.25)
            self._limit = 1.0
            self._last_cut = time.monotonic()
            self._hold(wait_s)
            logger.warning("no connection to the server, trying again in %.1f s", wait_s)
        return self.silences

    def _hold(self, wait_s: float) -> None:
        self._hold_until = max(self._hold_until, time.monotonic() + wait_s)

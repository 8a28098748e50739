"""What was computed lately, so that the same request is answered at once."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Cache(Generic[Value]):
    """Values by key; those used longest ago go first, and all after some time. For any number of threads.

    Args:
        max_total: Largest sum of the sizes of all values, in the unit of `size_of`.
        max_age_s: Seconds after its last use at which a value goes.
        size_of: Gives the size of a value.
        on_removed: Called with each value that goes, for instance to delete a file.
    """

    def __init__(
        self,
        max_total: float,
        max_age_s: float,
        size_of: Callable[[Value], float] = lambda value: 1,
        on_removed: Callable[[Value], None] = lambda value: None,
    ):
        self.max_total, self.max_age_s = max_total, max_age_s
        self._size_of, self._on_removed = size_of, on_removed
        self._values: OrderedDict[Hashable, tuple[Value, float]] = OrderedDict()
        self._lock = threading.Lock()
        self._making: dict[Hashable, threading.Lock] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get_or_make(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key; made where there is none, and by one thread alone while others wait for it."""
        with self._lock:
            if key in self._values:
                return self._use(key)
            making = self._making.setdefault(key, threading.Lock())
        with making:
            try:
                with self._lock:
                    if key in self._values:
                        return self._use(key)
                value = make()
                with self._lock:
                    self._values[key] = (value, time.monotonic())
            finally:
                with self._lock:
                    self._making.pop(key, None)
        self.sweep()
        return value

    def _use(self, key: Hashable) -> Value:
        value, _ = self._values.pop(key)
        self._values[key] = (value, time.monotonic())
        return value

    def sweep(self) -> None:
        """Remove what is too old, and the oldest while all together are too large; the newest stays."""
        removed = []
        with self._lock:
            oldest_s = time.monotonic() - self.max_age_s
            total = sum(self._size_of(value) for value, _ in self._values.values())
            while self._values:
                key, (value, used_s) = next(iter(self._values.items()))
                if used_s >= oldest_s and (total <= self.max_total or len(self._values) == 1):
                    break
                del self._values[key]
                total -= self._size_of(value)
                removed.append(value)
        for value in removed:
            self._on_removed(value)

    def clear(self) -> None:
        """Remove everything."""
        with self._lock:
            removed = [value for value, _ in self._values.values()]
            self._values.clear()
        for value in removed:
            self._on_removed(value)

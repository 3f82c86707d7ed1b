"""What several people ask for at the same time is made once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """Makes a thing for all who wait for it; nobody gets what was begun before he asked.

    So a hundred polls that come at once cost two, and each still tells what is true: no time has to be chosen for
    which something old would do.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[Hashable, Future[T]] = {}  # not begun yet: whoever comes now may have it
        self._turns: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` returns, called here or by another thread that asked for the same `key` meanwhile.

        Raises:
            Exception: whatever `make` raised; all who waited for it get that.
        """
        with self._lock:
            made = self._waiting.get(key)
            first = made is None
            if made is None:
                made = self._waiting[key] = Future()
            turn = self._turns.setdefault(key, threading.Lock())
        if first:
            with turn:  # only one is being made at a time
                with self._lock:
                    del self._waiting[key]
                try:
                    made.set_result(make())
                except BaseException as error:
                    made.set_exception(error)
            with self._lock:
                if key not in self._waiting:  # whoever waits for the turn has an entry there
                    self._turns.pop(key, None)
        return made.result()


class Lately(Generic[T]):
    """Remembers what was made last for a key that says all of what it depends on, and makes each once for all.

    Args:
        most: things that are remembered.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = threading.Lock()
        self._together: Shared[T] = Shared()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` returned for the key, now or not long ago.

        Raises:
            Exception: whatever `make` raises; that is not remembered.
        """
        known = self._find(key)
        return self._together.get(key, lambda: self._make(key, make)) if known is None else known[0]

    def _make(self, key: Hashable, make: Callable[[], T]) -> T:
        known = self._find(key)  # whoever was before us in the line has made it
        made = make() if known is None else known[0]
        with self._lock:
            self._made[key] = made
            while len(self._made) > self._most:
                self._made.popitem(last=False)
        return made

    def _find(self, key: Hashable) -> tuple[T] | None:
        with self._lock:
            if key not in self._made:
                return None
            self._made.move_to_end(key)
            return (self._made[key],)

"""A queue that is fair between viewers (no torch here)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class _Waiting(Protocol):
    @property
    def number(self) -> int: ...
    @property
    def viewer(self) -> str: ...


Item = TypeVar("Item", bound=_Waiting)
_REMEMBERED = 200


class FairQueue(Generic[Item]):
    """Who was served longest ago comes first; among equals, who came first.

    So a viewer with ten prompts waiting delays another one's first prompt by one at most.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, Item] = {}
        self._served: dict[str, int] = {}
        self._turn = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Item]:
        """In the order in which they will be served if nobody else comes."""
        served, turn = dict(self._served), self._turn
        left = dict(self._waiting)
        while left:
            item = self._first(left, served)
            del left[item.number]
            turn += 1
            served[item.viewer] = turn
            yield item

    def add(self, item: Item) -> None:
        """Let one wait."""
        self._waiting[item.number] = item

    def remove(self, number: int) -> bool:
        """Take one out; whether it was waiting."""
        return self._waiting.pop(number, None) is not None

    def pop(self) -> Item:
        """The next one to serve."""
        item = self._first(self._waiting, self._served)
        del self._waiting[item.number]
        self._turn += 1
        self._served.pop(item.viewer, None)
        self._served[item.viewer] = self._turn
        while len(self._served) > _REMEMBERED:
            del self._served[next(iter(self._served))]
        return item

    @staticmethod
    def _first(waiting: dict[int, Item], served: dict[str, int]) -> Item:
        return min(waiting.values(), key=lambda item: (served.get(item.viewer, 0), item.number))

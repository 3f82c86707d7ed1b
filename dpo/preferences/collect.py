"""Rows to pairs: the pairs of a row, the answers to one prompt, or the replies to one message."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dpo.errors import DataError
from dpo.preferences.codes import UnknownCode
from dpo.preferences.layouts import Layout, Message, Pair, Rated, Row
from dpo.preferences.table import COLUMNS, Record, write
from dpo.preferences.trees import DEEPEST
from dpo.preferences.turns import DropReason, Turn, Unusable, prompt_of

if TYPE_CHECKING:
    from datasets import Dataset

_CHUNK = 1024
Batches = Iterable[tuple[int, Sequence[Row]]]
"""Rows with the number of the first of them."""


@dataclass
class Collector:
    """Makes pairs of the rows of one layout, and keeps account of the rows that give none."""

    source: str
    layout: Layout
    swap: bool = False
    keep_equal: bool = False
    asked: bool = False
    """Whether the user chose the layout: then a code without a meaning costs its row only."""

    dropped: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Row numbers by reason ("with equal answers")."""

    def records(self, batches: Batches) -> Iterator[list[Record]]:
        """The pairs, some at a time, with their rows.

        Raises:
            DataError: a preference code that the first rows do not have, so that its meaning was never asked.
            StorageError: no room for a temporary file.
        """
        if self.layout.gives is Rated:
            found = self._of_answers(batches)
        elif self.layout.gives is Message:
            found = self._of_messages(batches)
        else:
            found = ([(row, item) for row, item in read if isinstance(item, Pair)] for read in self._read(batches))
        for pairs in found:
            yield [(row, fitting) for row, pair in pairs if (fitting := self._checked(row, pair)) is not None]

    def _read(self, batches: Batches) -> Iterator[list[tuple[int, Pair | Rated | Message]]]:
        for start, batch in batches:
            yield [(row, item) for row, raw in enumerate(batch, start) for item in self._items(row, raw)]

    def _items(self, row: int, raw: Row) -> list[Pair | Rated | Message]:
        try:
            return self.layout.read(raw)
        except UnknownCode as error:
            if not self.asked:
                raise DataError(self._unknown(row, error)) from None
            self.dropped[error.reason].append(row)
        except Unusable as error:
            self.dropped[error.reason].append(row)
        return []

    def _unknown(self, row: int, error: UnknownCode) -> str:
        columns = self.layout.key.rpartition(":")[0]
        choices = " or ".join(f"--layout {columns}:{key}" for key in error.readings())
        way_out = f"choose {choices}" if choices and columns else "take such rows out, or write which answer is better"
        return (
            f"{self.source}: row {row} has the preference {error.value!r}, and the first rows, which were read as "
            f'"{self.layout.name}", have none such: {way_out}'
        )

    def _checked(self, row: int, pair: Pair) -> Pair | None:
        try:
            return _checked(pair, self.swap, self.keep_equal)
        except Unusable as error:
            self.dropped[error.reason].append(row)
            return None

    def _of_answers(self, batches: Batches) -> Iterator[list[Record]]:
        """Single answers: all are written to a table first, then the best and the worst of a prompt are paired."""
        scores: defaultdict[int, list[tuple[float, int, int]]] = defaultdict(list)  # prompt: (score, place, row)
        place = 0

        def singles() -> Iterator[list[Record]]:
            nonlocal place
            for read in self._read(batches):
                records: list[Record] = []
                for row, rated in read:
                    assert isinstance(rated, Rated)
                    blank = "prompt" if not rated.prompt.strip() else "" if rated.answer.strip() else "answer"
                    if blank:
                        self.dropped[DropReason(f"with a blank {blank}")].append(row)
                        continue
                    scores[hash(rated.prompt)].append((rated.score, place, row))
                    records.append((row, Pair(rated.prompt, rated.answer, "", rated.messages)))
                    place += 1
                yield records

        table = write(singles())
        plan: list[tuple[int, int, int]] = []
        alone: list[int] = []
        for answers in scores.values():
            ranked = sorted(answers, key=lambda answer: -answer[0])
            while len(ranked) >= 2 and ranked[0][0] > ranked[-1][0]:
                best, worst = ranked.pop(0), ranked.pop()
                plan.append((min(best[2], worst[2]), best[1], worst[1]))
            alone += [row for _, _, row in ranked]
        if alone:
            self.dropped[DropReason.ALONE].extend(alone)
        for steps in _chunks(sorted(plan)):
            assert table is not None
            good, bad = (table[[step[side] for step in steps]] for side in (1, 2))
            turns = good.get("messages", [None] * len(steps))
            yield [
                (step[0], Pair(good["prompt"][place], good["chosen"][place], bad["chosen"][place], turns[place]))
                for place, step in enumerate(steps)
            ]

    def _of_messages(self, batches: Batches) -> Iterator[list[Record]]:
        """Messages of trees: all are written to a table first, then the best and the worst reply are paired."""
        tree = _Tree()

        def singles() -> Iterator[list[Record]]:
            for read in self._read(batches):
                yield [tree.add(row, item) for row, item in read if isinstance(item, Message)]

        table = write(singles())
        pairs, alone = tree.pairs()
        if alone:
            self.dropped[DropReason.ALONE].extend(alone)
        for chunk in _chunks(pairs):
            assert table is not None
            yield list(self._threads(tree, table, chunk))

    def _threads(self, tree: _Tree, table: Dataset, chunk: Sequence[tuple[int, str, str]]) -> Iterator[Record]:
        paths = [tree.path(good) for _, good, _ in chunk]
        wanted = sorted({tree.places[key] for path in paths for key in path} | {tree.places[bad] for *_, bad in chunk})
        found = table[wanted]
        turns = {
            place: {"role": role, "content": text}
            for place, role, text in zip(wanted, found["prompt"], found["chosen"], strict=True)
        }
        for (row, good, bad), path in zip(chunk, paths, strict=True):
            if not path:
                self.dropped[DropReason.NO_THREAD].append(row)
                continue
            try:
                prompt, messages = prompt_of([turns[tree.places[key]] for key in path[:-1]])
            except Unusable as error:
                self.dropped[error.reason].append(row)
                continue
            yield row, Pair(prompt, turns[tree.places[good]]["content"], turns[tree.places[bad]]["content"], messages)


class _Tree:
    """Who answers whom, without the texts: these are in a table, at `places`."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self._count = 0
        self.parents: dict[str, str | None] = {}
        self._replies: defaultdict[str, list[tuple[float, int, str]]] = defaultdict(list)  # rank, row, key
        self._unranked: list[int] = []

    def add(self, row: int, message: Message) -> Record:
        """Remember a message; returns it as a record of role and text."""
        turn: Turn = message.turn
        self.places[message.key] = self._count
        self._count += 1
        self.parents[message.key] = message.parent
        if turn["role"] == "assistant":
            if message.rank is None or message.parent is None:
                self._unranked.append(row)
            else:
                self._replies[message.parent].append((message.rank, row, message.key))
        return row, Pair(turn["role"], turn["content"], "")

    def pairs(self) -> tuple[list[tuple[int, str, str]], list[int]]:
        """Row, best and worst reply of each message with two, in the order of rows; and the rows of other replies."""
        pairs: list[tuple[int, str, str]] = []
        alone = list(self._unranked)
        for replies in self._replies.values():
            ranked = sorted(replies)
            if len(ranked) >= 2 and ranked[0][0] < ranked[-1][0]:
                pairs.append((min(ranked[0][1], ranked[-1][1]), ranked[0][2], ranked[-1][2]))
                ranked = ranked[1:-1]
            alone += [row for _, row, _ in ranked]
        return sorted(pairs), sorted(alone)

    def path(self, key: str) -> list[str]:
        """The messages from the first one of the tree to `key`; none where one is missing."""
        path: list[str] = []
        at: str | None = key
        while at is not None:
            if at not in self.places or len(path) > DEEPEST:
                return []
            path.append(at)
            at = self.parents[at]
        return path[::-1]


def _checked(pair: Pair, swap: bool, keep_equal: bool) -> Pair:
    if not all(isinstance(text, str) for text in pair[:3]):
        raise Unusable(DropReason.NO_TEXT)
    for name, text in zip(COLUMNS, pair[:3], strict=True):
        if not text.strip():
            raise Unusable(DropReason(f"with a blank {name}"))
    if not keep_equal and pair.chosen.strip() == pair.rejected.strip():
        raise Unusable(DropReason.EQUAL_ANSWERS)
    return pair._replace(chosen=pair.rejected, rejected=pair.chosen) if swap else pair


def _chunks(steps: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (steps[start : start + _CHUNK] for start in range(0, len(steps), _CHUNK))

"""Rows of any layout to a table of pairs, a batch at a time and never all text in memory.

The table has the columns `prompt`, `chosen`, `rejected`, `row` (the row's number in its source,
from 0) and, where some prompt has several turns, `messages`.  A table of more than `IN_MEMORY`
bytes lives in a temporary Arrow file that is mapped, and removed when the process ends.
"""

from __future__ import annotations

import atexit
import itertools
import math
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dpo.errors import DataError, StorageError
from dpo.preferences.formats import SAMPLE_ROWS, AmbiguousError, Recognised, recognise
from dpo.preferences.layouts import Layout, Pair, Rated, Row
from dpo.preferences.sources import BATCH, read_rows
from dpo.preferences.turns import Unusable

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

IN_MEMORY = 64 * 2**20
COLUMNS = ("prompt", "chosen", "rejected")
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Columns:
    """What the user said about the columns; None where it is to be recognised."""

    prompt: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    layout: str | None = None
    swap: bool = False
    keep_equal: bool = False
    """Whether rows with equal answers count as pairs (for a cleaning that is not asked to drop them)."""

    def roles(self) -> dict[str, str | None]:
        """Column by role."""
        return {"prompt": self.prompt, "chosen": self.chosen, "rejected": self.rejected}


@dataclass(frozen=True)
class Normalised:
    """Pairs of one source, and what happened to the rows that gave none."""

    source: str
    recognised: Recognised
    pairs: Dataset
    rows: int
    dropped: Mapping[str, list[int]] = field(default_factory=dict)
    """Row numbers by reason ("with equal answers")."""

    total: int | None = None
    """How many pairs there are, where `pairs` is a sample of them."""
    whole: bool = True
    """Whether the source was read to its end."""

    def drawn(self, most: int) -> Normalised:
        """The same with at most `most` of the pairs, drawn by a fixed seed, in their order."""
        count = len(self.pairs)
        return self if count <= most else replace(self, pairs=self.pairs.select(drawn(count, most)), total=count)

    def counts(self) -> dict[str, int]:
        """How many rows were dropped, by reason."""
        return {reason: len(rows) for reason, rows in self.dropped.items()}


def drawn(count: int, most: int) -> NDArray[np.int64]:
    """`most` of the places below `count` by a fixed seed, in order; all of them if there are no more."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def detect(source: str, split: str = "train", columns: Columns | None = None) -> tuple[Recognised, list[Row]]:
    """The layout of a source and the first rows that it was recognised by.

    Raises:
        DataError: see `recognise` and `read_rows`.
    """
    sample = head_of(source, split)
    return _recognised(source, sample, columns or Columns()), sample


def head_of(source: str, split: str = "train") -> list[Row]:
    """The first rows of a source, by which its layout is recognised.

    Raises:
        DataError: see `read_rows`.
    """
    return list(next(read_rows(source, split, SAMPLE_ROWS), []))


def _recognised(source: str, rows: Sequence[Row], columns: Columns) -> Recognised:
    try:
        return recognise(rows, columns.roles(), columns.layout)
    except AmbiguousError as error:
        raise error.of(source) from None
    except DataError as error:
        raise DataError(f"{source}: {error}") from None


def normalise(
    source: str,
    split: str = "train",
    columns: Columns | None = None,
    progress: Progress | None = None,
    head: int | None = None,
) -> Normalised:
    """All pairs of a source that have a prompt and two different answers.

    Args:
        progress: hears how many rows have been read.
        head: read only so many rows (fewer where they are huge), for a look that must be quick.

    Raises:
        DataError: unreadable, not preference data, ambiguous, or without a single pair.
        StorageError: no room for the temporary file.
    """
    columns = columns or Columns()
    batches = read_rows(source, split)
    sample: list[list[dict[str, Any]]] = []
    for batch in batches:
        sample.append(batch)
        # Batches of huge rows are short: a few of them are sample enough.
        if sum(map(len, sample)) >= SAMPLE_ROWS or len(sample) == 3:
            break
    first = list(itertools.islice(itertools.chain.from_iterable(sample), SAMPLE_ROWS))
    recognised = _recognised(source, first, columns)
    dropped: defaultdict[str, list[int]] = defaultdict(list)
    every = _Head(itertools.chain(sample, batches), head)
    counter = _Counter(every, progress)
    if recognised.layout.rated:
        records = _of_rated(counter, recognised.layout, dropped, columns)
    else:
        records = _of_pairs(counter, recognised.layout, dropped, columns)
    pairs = _write(records)
    if pairs is None:
        reasons = ", ".join(f"{len(rows)} {reason}" for reason, rows in dropped.items())
        if recognised.layout.key == "labelled":
            raise DataError(
                f"{source}: this is unpaired data with a label, and no prompt has both a good and a bad answer: "
                "pair a good and a bad answer for each prompt first"
            )
        raise DataError(f"{source} has no usable pair ({reasons}): every pair needs a prompt and two different answers")
    return Normalised(source, recognised, pairs, counter.rows, dict(dropped), whole=every.whole)


class _Head:
    """The first batches of rows, as many as hold `head` rows; all of them with None.

    Batches are counted, not rows: one is never over `reading.MAX_ROW` bytes, so that little is read
    where rows are huge.  One more is read to know whether there are more.
    """

    def __init__(self, batches: Iterable[list[dict[str, Any]]], head: int | None) -> None:
        self.batches, self.head, self.whole = batches, head, True

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        most = None if self.head is None else math.ceil(self.head / BATCH)
        for place, batch in enumerate(self.batches):
            if place == most:
                self.whole = False
                return
            yield batch


class _Counter:
    """Batches of rows with the number of their first row, counted as they pass."""

    def __init__(self, batches: Iterable[list[dict[str, Any]]], progress: Progress | None) -> None:
        self.batches, self.progress, self.rows = batches, progress, 0

    def __iter__(self) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        for batch in self.batches:
            yield self.rows, batch
            self.rows += len(batch)
            if self.progress is not None:
                self.progress(self.rows)


Record = tuple[int, Pair]


def _of_pairs(
    counter: _Counter, layout: Layout, dropped: defaultdict[str, list[int]], columns: Columns
) -> Iterator[list[Record]]:
    for start, batch in counter:
        records: list[Record] = []
        for row, raw in enumerate(batch, start):
            try:
                pair = layout.read(raw)
                assert isinstance(pair, Pair)
                records.append((row, _checked(pair, columns)))
            except Unusable as error:
                dropped[str(error)].append(row)
            except (KeyError, IndexError, TypeError, AttributeError):
                dropped["of another layout"].append(row)
        yield records


def _checked(pair: Pair, columns: Columns) -> Pair:
    if not all(isinstance(text, str) for text in pair[:3]):
        raise Unusable("without text")
    for name, text in zip(COLUMNS, pair[:3], strict=True):
        if not text.strip():
            raise Unusable(f"with a blank {name}")
    if not columns.keep_equal and pair.chosen.strip() == pair.rejected.strip():
        raise Unusable("with equal answers")
    return pair._replace(chosen=pair.rejected, rejected=pair.chosen) if columns.swap else pair


def _of_rated(
    counter: _Counter, layout: Layout, dropped: defaultdict[str, list[int]], columns: Columns
) -> Iterator[list[Record]]:
    """Single answers: all are written to a table first, then the best and the worst of a prompt are paired."""
    scores: dict[int, list[tuple[float, int, int]]] = defaultdict(list)  # prompt -> (score, place, row)
    place = 0

    def singles() -> Iterator[list[Record]]:
        nonlocal place
        for start, batch in counter:
            records: list[Record] = []
            for row, raw in enumerate(batch, start):
                try:
                    rated = layout.read(raw)
                    assert isinstance(rated, Rated)
                    if not rated.prompt.strip() or not rated.answer.strip():
                        raise Unusable("with a blank prompt" if not rated.prompt.strip() else "with a blank answer")
                    scores[hash(rated.prompt)].append((rated.score, place, row))
                    records.append((row, Pair(rated.prompt, rated.answer, "", rated.messages)))
                    place += 1
                except Unusable as error:
                    dropped[str(error)].append(row)
                except (KeyError, IndexError, TypeError, AttributeError):
                    dropped["of another layout"].append(row)
            yield records

    answers_table = _write(singles())
    plan: list[tuple[int, int, int, int]] = []
    for answers in scores.values():
        ranked = sorted(answers, key=lambda answer: -answer[0])
        while len(ranked) >= 2 and ranked[0][0] > ranked[-1][0]:
            best, worst = ranked.pop(0), ranked.pop()
            plan.append((min(best[2], worst[2]), best[1], worst[1], max(best[2], worst[2])))
        dropped["without a partner for its prompt"].extend(row for _, _, row in ranked)
    if not dropped["without a partner for its prompt"]:
        del dropped["without a partner for its prompt"]
    if answers_table is None:
        return
    for chunk in _chunks(sorted(plan)):
        good, bad = (answers_table[[step[side] for step in chunk]] for side in (1, 2))
        turns = good.get("messages", [None] * len(chunk))
        records = []
        for place, step in enumerate(chunk):
            pair = Pair(good["prompt"][place], good["chosen"][place], bad["chosen"][place], turns[place])
            try:
                records.append((step[0], _checked(pair, columns)))
            except Unusable as error:
                dropped[str(error)].append(step[0])
        yield records


def _chunks(steps: list[Any]) -> Iterator[list[Any]]:
    return (steps[start : start + 1024] for start in range(0, len(steps), 1024))


def _write(batches: Iterable[list[Record]]) -> Dataset | None:
    """The records as a dataset: in memory while small, else mapped from a temporary file."""
    import pyarrow as pa
    from datasets import Dataset

    schema = pa.schema(
        [
            *((name, pa.large_string()) for name in COLUMNS),
            ("row", pa.int64()),
            ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ]
    )
    kept: list[pa.RecordBatch] = []
    size, turns = 0, False
    writer, sink, path = None, None, None
    try:
        for records in batches:
            if not records:
                continue
            columns: dict[str, list[Any]] = {
                name: [_clean(getattr(pair, name)) for _, pair in records] for name in COLUMNS
            }
            columns["row"] = [row for row, _ in records]
            columns["messages"] = [pair.messages for _, pair in records]
            turns = turns or any(messages is not None for messages in columns["messages"])
            batch = pa.RecordBatch.from_pydict(columns, schema)
            kept.append(batch)
            size += batch.nbytes
            if writer is None and size > IN_MEMORY:
                path = Path(_directory()) / f"{id(kept)}.arrow"
                sink = pa.OSFile(str(path), "wb")
                writer = pa.ipc.new_stream(sink, schema)
            if writer is not None:
                for waiting in kept:
                    writer.write_batch(waiting)
                kept.clear()
        if writer is not None and sink is not None:
            writer.close()
            sink.close()
    except OSError as error:
        raise StorageError(
            f"The pairs need a temporary file in {tempfile.gettempdir()} ({error.strerror or error}): make room there, "
            "or set TMPDIR"
        ) from error
    if size == 0:
        return None
    # A mapped table keeps to its file: anything that hashed or copied its rows would read them all into memory.
    dataset = Dataset.from_file(str(path)) if path is not None else Dataset(pa.Table.from_batches(kept, schema))
    return dataset if turns else dataset.remove_columns("messages")


def _clean(text: str) -> str:
    """`text` with lone surrogates ("\\ud83d", half an emoji) replaced: Arrow and every tokenizer want UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text


def _directory() -> str:
    path = tempfile.mkdtemp(prefix="dpo-pairs-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def tally(parts: Iterable[Normalised]) -> dict[str, int]:
    """Dropped rows of several sources, by reason."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part.counts())
    return dict(total)

"""Records to an Arrow table: in memory while it is small, else in a temporary file that is mapped."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpo.errors import StorageError
from dpo.preferences.layouts import Pair

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

IN_MEMORY = 64 * 2**20
"""Bytes of a table at most that is waiting in memory."""
COLUMNS = ("prompt", "chosen", "rejected")
Record = tuple[int, Pair]
"""The row of a pair in its source, from 0, and the pair."""


def write(batches: Iterable[list[Record]]) -> Dataset | None:
    """The records as a dataset of `COLUMNS`, `row` and, where some prompt has several turns, `messages`; None of none.

    Raises:
        StorageError: no room for the temporary file.
    """
    import pyarrow as pa
    from datasets import Dataset

    schema = pa.schema(
        [
            *((name, pa.large_string()) for name in COLUMNS),
            ("row", pa.int64()),
            ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ]
    )
    waiting: list[pa.RecordBatch] = []
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
            waiting.append(batch)
            size += batch.nbytes
            if writer is None and size > IN_MEMORY:
                path = Path(_directory()) / f"{id(waiting)}.arrow"
                sink = pa.OSFile(str(path), "wb")
                writer = pa.ipc.new_stream(sink, schema)
            if writer is not None:
                for earlier in waiting:
                    writer.write_batch(earlier)
                waiting.clear()
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
    dataset = Dataset.from_file(str(path)) if path is not None else Dataset(pa.Table.from_batches(waiting, schema))
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

"""Text for pretraining: files in, documents out.

A document is a list of turns.  Plain text has one; a conversation has as many as its speakers took.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from dpo.errors import DataError
from dpo.preferences.split import is_held_out

Document = list[str]
_FORMS = 'each line {"turns": ["...", ...]}, {"messages": [{"content": "..."}, ...]} or {"text": "..."}'


@dataclass(frozen=True)
class Corpus:
    """Documents to learn from and documents kept aside, with the fingerprint of all of them."""

    train: list[Document]
    held_out: list[Document]
    fingerprint: str

    @property
    def size(self) -> int:
        """UTF-8 bytes of the training side."""
        return sum(len(turn.encode()) for document in self.train for turn in document)


def read_corpus(paths: Iterable[str | Path], held_out: float) -> Corpus:
    """The documents of `paths`; a share `held_out` is kept aside by a hash of the document's text.

    Raises:
        DataError: a file is missing, not text, in no known form, or all of them hold nothing.
    """
    digest = hashlib.sha256()
    train: list[Document] = []
    aside: list[Document] = []
    for document in (document for path in paths for document in read_documents(Path(path))):
        text = "\n".join(document)
        digest.update(text.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
        (aside if is_held_out(text, held_out) else train).append(document)
    if not train:
        raise DataError("--text holds no documents to learn from: give other files")
    return Corpus(train, aside, digest.hexdigest()[:16])


def read_documents(path: Path) -> Iterator[Document]:
    """The documents of one file, which may be compressed with gzip.

    `.jsonl` holds one document a line (`turns`, `messages` or `text`); in any other file documents are
    separated by blank lines.

    Raises:
        DataError: see `read_corpus`.
    """
    lines_of_json = ".jsonl" in path.suffixes
    try:
        with _opened(path) as file:
            yield from _json_documents(file, path) if lines_of_json else _plain_documents(file)
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"--text {path} cannot be read ({why}): check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"--text {path} is not UTF-8 text: convert it first") from error


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return cast(IO[str], gzip.open(path, "rt", encoding="utf-8"))
    return path.open(encoding="utf-8")


def _plain_documents(file: Iterable[str]) -> Iterator[Document]:
    lines: list[str] = []
    for line in file:
        if line.strip():
            lines.append(line.rstrip())
        elif lines:
            yield ["\n".join(lines)]
            lines = []
    if lines:
        yield ["\n".join(lines)]


def _json_documents(file: Iterable[str], path: Path) -> Iterator[Document]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"--text {path} line {number} is not JSON: mend or remove that line") from error
        turns = _turns(row)
        if turns is None:
            raise DataError(f"--text {path} line {number} is in no known form: {_FORMS}")
        kept = [turn for turn in turns if turn.strip()]
        if kept:
            yield kept


def _turns(row: Any) -> list[str] | None:
    if not isinstance(row, dict):
        return None
    turns = row.get("turns")
    if turns is None and isinstance(row.get("messages"), list):
        turns = [message.get("content") if isinstance(message, dict) else None for message in row["messages"]]
    if turns is None and "text" in row:
        turns = [row["text"]]
    if not isinstance(turns, list) or not all(isinstance(turn, str) for turn in turns):
        return None
    return turns

"""Files to rows, a batch at a time: JSON in every shape, CSV, TSV, Parquet; gzip or not.

Nothing here holds more of a file than one batch of rows, and no row may be longer than `MAX_ROW`.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dpo.errors import DataError, first_line

FileRow = dict[str, Any]
SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".parquet")
MAX_ROW = 64 * 2**20
"""Bytes of one row at most (a row of 10 MB is read; a file that is one endless row is not)."""
_CHUNK = 2**20
_PARQUET_ROWS = 16


def kind_of(path: Path) -> str:
    """The file's type by its name, `.gz` aside (".jsonl"); "" where it is none we read."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in SUFFIXES else ""


def read_file(path: Path, batch: int) -> Iterator[list[FileRow]]:
    """The rows of a file in lists of `batch`.

    Raises:
        DataError: unreadable or malformed, with the line; or changed while it was read.
    """
    before = _identity(path)
    readers = {".csv": _csv, ".tsv": _csv, ".parquet": _parquet}
    rows: list[FileRow] = []
    size = 0
    try:
        for row, length in readers.get(kind_of(path), _json)(path):
            rows.append(row)
            size += length
            if len(rows) >= batch or size >= MAX_ROW:
                yield rows
                rows, size = [], 0
    except DataError:
        if _identity(path) != before:
            raise _changed(path) from None
        raise
    except UnicodeDecodeError as error:
        raise DataError(f"{path.absolute()} is not UTF-8 ({error.reason}): save it as UTF-8") from error
    except (OSError, EOFError) as error:
        raise DataError(f"{path.absolute()} cannot be read ({error}): mend the file") from error
    except Exception as error:  # pyarrow and csv fail in ways of their own
        why = first_line(error)
        raise DataError(f"{path.absolute()} cannot be read as {kind_of(path)} ({why}): mend the file") from error
    if _identity(path) != before:
        raise _changed(path)
    if rows:
        yield rows


def _identity(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path.absolute()} cannot be read ({error.strerror}): check the path") from error
    return status.st_ino, status.st_size, status.st_mtime_ns


def _changed(path: Path) -> DataError:
    return DataError(f"{path.absolute()} changed while it was being read: wait until it is written, then start again")


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        with gzip.GzipFile(fileobj=raw) if packed else raw as stream:
            yield stream  # type: ignore[misc]


def _json(path: Path) -> Iterator[tuple[FileRow, int]]:
    """JSON lines, one JSON array, or objects written over several lines."""
    with _opened(path) as opened:
        stream = io.BufferedReader(opened, _CHUNK)  # type: ignore[type-var]
        mark = stream.peek(3)[:3]
        if mark[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise DataError(f"{path.absolute()} is UTF-16: save it as UTF-8")
        if mark == b"\xef\xbb\xbf":
            stream.read(3)
        number, line = 0, b"\n"
        while line and not line.strip():
            line = stream.readline(MAX_ROW + 1)
            number += 1
        try:
            in_lines = line.lstrip()[:1] != b"[" and bool(json.loads(_text(line, path, number)) or True)
        except ValueError:
            in_lines = False
        rows = iter(_lines(path, stream, line, number) if in_lines else _Values(path, stream, line, number))
        for index, (row, length) in enumerate(rows, 1):
            if not isinstance(row, dict):
                raise DataError(f"{path.absolute()} row {index} is {type(row).__name__}, not an object: mend that row")
            yield row, length


def _lines(path: Path, stream: IO[bytes], line: bytes, number: int) -> Iterator[tuple[Any, int]]:
    while line:
        if len(line) > MAX_ROW:
            raise _too_long(path, number)
        if line.strip():
            try:
                yield json.loads(_text(line, path, number)), len(line)
            except ValueError as error:
                raise _not_json(path, number, error) from error
        line = stream.readline(MAX_ROW + 1)
        number += 1


class _Values:
    """The elements of one array, or objects one after the other, from a text that is read as it is needed."""

    def __init__(self, path: Path, stream: IO[bytes], begun: bytes, number: int) -> None:
        self.path, self.stream, self.number = path, stream, number
        self.decoder = json.JSONDecoder()
        self.characters = codecs.getincrementaldecoder("utf-8")()
        self.text, self.position, self.wanted = "", 0, _CHUNK
        self.in_array, self.closed, self.ended = begun.lstrip()[:1] == b"[", False, False
        self._decode(begun.lstrip()[1:] if self.in_array else begun)

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        while True:
            while (found := self._next()) is not None:
                self.wanted = _CHUNK
                yield found
            if self.ended:
                break
            self.text, self.position = self.text[self.position :], 0
            chunk = self.stream.read(self.wanted)
            self.wanted = min(2 * self.wanted, MAX_ROW)  # a long row is tried again few times
            self.ended = not chunk
            self._decode(chunk)
        if self.in_array:
            where = f"{self.path.absolute()} ends within its array (line {self.number})"
            raise DataError(f"{where}: was it written to the end?")

    def _decode(self, chunk: bytes) -> None:
        try:
            self.text += self.characters.decode(chunk, final=self.ended)
        except UnicodeDecodeError as error:
            line = self.number + self.text.count("\n", self.position) + error.object[: error.start].count(b"\n")
            raise _not_text(self.path, line, error.object[error.start], None) from error

    def _next(self) -> tuple[Any, int] | None:
        """The next value and its length in letters; None where more text is needed, or nothing follows."""
        self._skip_gap()
        if self.in_array and self.text[self.position : self.position + 1] == "]":
            self.in_array, self.closed = False, True
            self.position += 1
            self._skip_gap()
        if self.position == len(self.text):
            return None
        if self.closed:
            raise DataError(
                f"{self.path.absolute()} line {self.number} goes on after the end of its array: mend the file"
            )
        begin = self.position
        try:
            value, end = self.decoder.raw_decode(self.text, begin)
        except ValueError as error:
            if self.ended:
                raise _not_json(self.path, self.number, error) from error
            if len(self.text) - begin > MAX_ROW:
                raise _too_long(self.path, self.number) from error
            return None
        if end == len(self.text) and not self.ended and not isinstance(value, dict | list):
            return None  # a number may go on in the next chunk
        self._move(end)
        return value, end - begin

    def _skip_gap(self) -> None:
        match = _GAP.match(self.text, self.position)
        assert match is not None
        self._move(match.end())

    def _move(self, position: int) -> None:
        self.number += self.text.count("\n", self.position, position)
        self.position = position


_GAP = re.compile(r"[\s,]*")


def _csv(path: Path) -> Iterator[tuple[FileRow, int]]:
    """Every cell stays text: an answer "NA" or "1" is what it is."""
    csv.field_size_limit(MAX_ROW)
    delimiter = "\t" if kind_of(path) == ".tsv" else ","
    with _opened(path) as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
        reader = csv.DictReader(text, delimiter=delimiter, restval="")
        for row in reader:
            if None in row:
                raise DataError(
                    f"{path.absolute()} line {reader.line_num} has more cells than the first line has names: mend it"
                )
            yield row, sum(map(len, row.values()))


def _parquet(path: Path) -> Iterator[tuple[FileRow, int]]:
    import pyarrow.parquet

    # Few at a time: a word of a dictionary may be a megabyte, and stand in each row.
    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=_PARQUET_ROWS):
        size = batch.nbytes // max(batch.num_rows, 1)
        if size > MAX_ROW:
            raise DataError(
                f"{path.absolute()} has rows of more than {MAX_ROW // 2**20} MB: no preference pair is that long"
            )
        for row in batch.to_pylist():
            yield row, size


def _text(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_text(path, number, line[error.start], error.start + 1) from error


def _not_text(path: Path, number: int, byte: int, column: int | None) -> DataError:
    where = f"byte 0x{byte:02x}" + (f" at column {column}" if column else "")
    return DataError(f"{path.absolute()} line {number} is not UTF-8 ({where}): save the file as UTF-8")


def _too_long(path: Path, number: int) -> DataError:
    return DataError(
        f"{path.absolute()} line {number} begins a row of more than {MAX_ROW // 2**20} MB: no preference pair is that "
        "long; split or remove it"
    )


def _not_json(path: Path, number: int, error: ValueError) -> DataError:
    return DataError(f"{path.absolute()} line {number} is not JSON ({error}): mend or remove that line")

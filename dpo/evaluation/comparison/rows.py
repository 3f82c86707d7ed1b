"""The two files of an evaluation: they only grow, and what is in them is never made again (no torch here).

`rows.jsonl` has seven kinds of rows, each with a `key` by which it is found again:

* `plan`: what was asked for.  The last one says what `eval.json` is about.
* `prompt`: a prompt with its hash, slices and the held-out pairs that ask it.
* `answer`: what a policy wrote, with its measures; or why it could not.
* `pair`: a held-out pair under a policy and its reference.
* `kl`: how far a policy is from another on an answer of its own; or why that cannot be measured.
* `text`: a plain text, its first half as a prompt.
* `likelihood`: the log-probability of a text that a policy did not write.

`verdicts.jsonl` has a row for each verdict of each judge.  One that failed has an `error` instead of a
verdict; it stays as a record, and is asked for again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dpo.errors import BusyError, DataError, StorageError
from dpo.evaluation.comparison.measures import MEASURES, measure
from dpo.files import write_json
from dpo.runs.files import parse, reason
from dpo.runs.record import EVALUATION, read_lines

ROWS, VERDICTS, RESULT = "rows.jsonl", "verdicts.jsonl", EVALUATION
LOCK = ".lock"

Row = dict[str, Any]

# Made once: an evaluation asks for tens of thousands of keys.
_KEYS = json.JSONEncoder(sort_keys=True)


def key_of(*parts: object) -> str:
    """24 hex digits that depend on the parts alone, the same on every machine."""
    return hashlib.sha256(_KEYS.encode(parts).encode("utf-8", "surrogatepass")).hexdigest()[:24]


def answer_key(policy_hash: str, prompt_hash: str, temperature: float, seed: int, sampling: Row) -> str:
    """By what an answer is found again; without chance (temperature 0) the seed is none."""
    return key_of("answer", policy_hash, prompt_hash, float(temperature), seed if temperature else 0, sampling)


def pair_key(prompt_key: str, place: int, policy_hash: str, reference: str | None, beta: float) -> str:
    """By what a prompt's held-out pair under a policy is found again."""
    return key_of("pair", prompt_key, place, policy_hash, reference, float(beta))


def verdict_key(identity: str, a: Row, b: Row, order: str) -> str:
    """By what a judge's verdict on two answers is found again."""
    return key_of("verdict", identity, a["key"], b["key"], order)


class RowStore:
    """The rows of the evaluation in a directory, read once; writers hold `writing()`.

    Raises:
        StorageError: a file is there and cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.plan: Row | None = None
        self.prompts: dict[str, Row] = {}
        self.answers: dict[str, Row] = {}
        self.pairs: dict[str, Row] = {}
        self.kls: dict[str, Row] = {}
        self.texts: dict[str, Row] = {}
        self.likelihoods: dict[str, Row] = {}
        self.verdicts: dict[str, Row] = {}
        self._read()

    def _read(self) -> None:
        for name in (ROWS, VERDICTS):
            try:
                rows = read_lines(self.path / name)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StorageError(
                    f"{self.path / name} cannot be read ({reason(error)}): restore it, or name another --output-dir"
                ) from error
            for row in rows:
                if isinstance(row.get("key"), str):
                    self._take(name, row)

    def _take(self, name: str, row: Row) -> bool:
        """Hold a row; False if it is there already."""
        if name == VERDICTS:
            table = self.verdicts
            if row.get("error") is not None:
                return True  # a record of what failed: the verdict is still to come
        elif row.get("kind") == "plan":
            new = self.plan is None or self.plan["key"] != row["key"]
            self.plan = row
            return new
        else:
            tables = {
                "prompt": self.prompts, "answer": self.answers, "pair": self.pairs, "kl": self.kls,
                "text": self.texts, "likelihood": self.likelihoods,
            }  # fmt: skip
            if row.get("kind") not in tables:
                return False
            table = tables[str(row["kind"])]
        if row["key"] in table:
            return False
        if row.get("measures") is not None and not MEASURES.keys() <= row["measures"].keys():
            # Written by an earlier version, which counted less.
            row["measures"] = measure(row["text"], row["tokens"], row["ended"])
        table[row["key"]] = row
        return True

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the directory, made if need be, so that no other process writes into it.

        What a killed process left of a line is cut off, so that the next row begins on a line of its own.

        Raises:
            BusyError: another process writes into it.
            StorageError: it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / LOCK)
            lock.acquire(timeout=0)
        except Timeout:
            raise BusyError(
                f"Another evaluation is writing into {self.path}: wait for it, or name another --output-dir"
            ) from None
        except OSError as error:
            raise self._refused(self.path, error) from error
        try:
            for name in (ROWS, VERDICTS):
                _cut_torn_line(self.path / name)
            # Another process may have written between our reading and now.
            self._read()
            yield
        finally:
            lock.release()

    def add(self, *rows: Row) -> None:
        """Append rows that are not there yet, on the disk when this returns."""
        self._append(ROWS, rows)

    def add_verdicts(self, *rows: Row) -> None:
        """Append verdicts that are not there yet, on the disk when this returns."""
        self._append(VERDICTS, rows)

    def write_result(self, content: Row) -> None:
        """Replace `eval.json` as a whole.

        Raises:
            StorageError: it cannot be written; what was there stays.
        """
        try:
            write_json(self.path / RESULT, content)
        except OSError as error:
            raise self._refused(self.path / RESULT, error) from error

    def _append(self, name: str, rows: Sequence[Row]) -> None:
        new = [row for row in rows if self._take(name, row)]
        if not new:
            return
        path = self.path / name
        text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in new)
        content = text.encode("utf-8", "surrogatepass")
        try:
            size = path.stat().st_size if path.exists() else 0
            try:
                with path.open("ab") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:
                os.truncate(path, size)  # no half line stays behind
                raise
        except OSError as error:
            raise self._refused(path, error) from error

    @staticmethod
    def _refused(path: Path, error: OSError) -> StorageError:
        return StorageError(
            f"{path} cannot be written ({reason(error)}): make room, or name another --output-dir; "
            "what was stored before is kept"
        )


def read_result(path: str | Path) -> Row:
    """The result in an evaluation's directory.

    Raises:
        DataError: there is none, or it is damaged.
    """
    file = Path(path) / RESULT
    try:
        content = parse(file.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{Path(path).absolute()} holds no evaluation (no {RESULT}): run dpo eval") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({reason(error)}): run dpo eval again") from error
    if not isinstance(content, dict):
        raise DataError(f"{file} cannot be read (it is not a JSON object): run dpo eval again")
    return content


def _cut_torn_line(path: Path) -> None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)

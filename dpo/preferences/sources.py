"""A name, a file or a hub id to rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpo.errors import DataError
from dpo.hub import offline

if TYPE_CHECKING:
    from datasets import Dataset

NAMED = {"human-like": "HumanLLMs/Human-Like-DPO-Dataset"}
SAMPLE = Path(__file__).resolve().parent / "sample.jsonl"
SUFFIXES = (".json", ".jsonl", ".csv", ".parquet")


def load_rows(source: str, split: str = "train") -> Dataset:
    """Rows of a named dataset, a local file, or a hub dataset, as they were published.

    Raises:
        DataError: missing or empty file, unknown type, hub out of reach, unknown dataset.
    """
    if source == "sample":
        return _local(SAMPLE)
    path = Path(source).expanduser()
    if path.exists() or path.suffix.lower() in SUFFIXES or source.startswith((".", "/", "~")):
        return _local(path)
    return _hub(NAMED.get(source, source), source, split)


def _local(path: Path) -> Dataset:
    if not path.exists():
        raise DataError(f"There is no file {path.absolute()}: check --dataset")
    if path.is_dir():
        raise DataError(f"{path.absolute()} is a directory: name a {', '.join(SUFFIXES)} file in it")
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path.absolute()} is no {', '.join(SUFFIXES)} file: convert it to one of these")
    if path.stat().st_size == 0:
        raise DataError(f"{path.absolute()} is empty: it should hold preference pairs")
    try:
        rows = _read(path)
    except DataError:
        raise
    except Exception as error:  # each reader of the libraries fails in ways of its own
        first = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise DataError(f"{path.absolute()} cannot be read as {path.suffix} ({first}): mend the file") from error
    if len(rows) == 0:
        raise DataError(f"{path.absolute()} has no rows: it should hold preference pairs")
    return rows


def _read(path: Path) -> Dataset:
    from datasets import Dataset

    if path.suffix.lower() == ".csv":
        import pandas

        # Text is text: an answer "NA" or "1" stays what it is.
        return Dataset.from_pandas(pandas.read_csv(path, dtype=str, keep_default_na=False), preserve_index=False)
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet

        return Dataset(pyarrow.parquet.read_table(path))
    return Dataset.from_list(_json_rows(path))


def _json_rows(path: Path) -> list[dict[str, Any]]:
    """JSON lines, one JSON array, or a single (possibly indented) object."""
    text = path.read_text(encoding="utf-8-sig")
    rows: list[Any] = []
    number = 0
    try:
        for number, line in enumerate(text.split("\n"), 1):  # noqa: B007 - named in the error below
            if line.strip():
                rows.append(json.loads(line))
    except ValueError as error:
        try:
            whole = json.loads(text)
        except ValueError:
            raise DataError(
                f"{path.absolute()} line {number} is not JSON ({error}): mend or remove that line"
            ) from error
        rows = whole if isinstance(whole, list) else [whole]
    if len(rows) == 1 and isinstance(rows[0], list):
        rows = rows[0]
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"{path.absolute()} row {number} is {type(row).__name__}, not an object: mend that row")
    return rows


def _hub(hub_id: str, source: str, split: str) -> Dataset:
    from datasets import Dataset, load_dataset
    from datasets.exceptions import DatasetNotFoundError

    if offline():
        # `datasets` copied the setting when it was imported.
        import datasets.config

        datasets.config.HF_HUB_OFFLINE = True
    where = hub_id if hub_id == source else f"{source} ({hub_id})"
    try:
        rows = load_dataset(hub_id, split=split)
    except DatasetNotFoundError as error:
        raise DataError(
            f"The hub has no dataset {where} that you may read: check the name, or give a local .jsonl file"
        ) from error
    except Exception as error:  # connection, proxy, cache and format errors, of many types
        if offline():
            raise DataError(
                f"{where} is not in the local cache, and the hub cannot be reached: check the connection, or give a "
                "local .jsonl file"
            ) from error
        first = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{where} cannot be loaded from the hub ({first}): check the name, or give a local .jsonl file"
        ) from error
    if not isinstance(rows, Dataset):
        raise DataError(f"{where} has no split {split!r} of rows: name one with --split")
    return rows

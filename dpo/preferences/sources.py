"""A name, a file or a hub id to rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpo.errors import DataError, first_line
from dpo.hub import offline, why_offline
from dpo.preferences.reading import SUFFIXES, kind_of, read_file

if TYPE_CHECKING:
    from datasets import Dataset

NAMED = {
    "human-like": "HumanLLMs/Human-Like-DPO-Dataset",
    "hh-rlhf": "Anthropic/hh-rlhf",
    "ultrafeedback": "HuggingFaceH4/ultrafeedback_binarized",
    "synthetic-instruct": "Dahoas/synthetic-instruct-gptj-pairwise",
    "orca": "Intel/orca_dpo_pairs",
}
# Where the splits have names of their own.
_SPLITS = {"ultrafeedback": {"train": "train_prefs", "test": "test_prefs"}}
LICENCES = {
    "sample": "mit", "human-like": "llama3", "hh-rlhf": "mit", "ultrafeedback": "mit",
    "synthetic-instruct": "apache-2.0", "orca": "apache-2.0",
}  # fmt: skip
"""By the datasets' cards, in the hub's spelling; what is not here is told as unknown, never guessed."""
SAMPLE = Path(__file__).resolve().parent / "sample.jsonl"
BATCH = 1024


def is_local(source: str) -> bool:
    """Whether `source` names a file (there or not) rather than a dataset of the hub."""
    path = Path(source).expanduser()
    return path.exists() or bool(kind_of(path)) or source.startswith((".", "/", "~"))


def read_rows(source: str, split: str = "train", batch: int = BATCH) -> Iterator[list[dict[str, Any]]]:
    """Rows of a named dataset, a local file, or a hub dataset, as they were published, in lists of `batch`.

    Raises:
        DataError: missing, empty, malformed or changing file, unknown type, hub out of reach,
            unknown dataset.
    """
    if source == "sample":
        yield from read_file(SAMPLE, batch)
    elif source not in NAMED and is_local(source):
        yield from _local(Path(source).expanduser(), batch)
    else:
        rows = _hub(NAMED.get(source, source), source, _SPLITS.get(source, {}).get(split, split))
        for start in range(0, len(rows), batch):
            columns = rows[start : start + batch]
            yield [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _local(path: Path, batch: int) -> Iterator[list[dict[str, Any]]]:
    if not path.exists():
        raise DataError(f"There is no file {path.absolute()}: check --dataset")
    if path.is_dir():
        raise DataError(f"{path.absolute()} is a directory: name a {', '.join(SUFFIXES)} file in it")
    if not kind_of(path):
        raise DataError(f"{path.absolute()} is no {', '.join(SUFFIXES)} file (or .gz of one): convert it to one")
    if path.stat().st_size == 0:
        raise DataError(f"{path.absolute()} is empty: it should hold preference pairs")
    empty = True
    for rows in read_file(path, batch):
        empty = False
        yield rows
    if empty:
        raise DataError(f"{path.absolute()} has no rows: it should hold preference pairs")


def _hub(hub_id: str, source: str, split: str) -> Dataset:
    from datasets import Dataset, load_dataset
    from datasets.exceptions import DatasetNotFoundError

    offline()  # tells the libraries
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
                f"{where} is not in the local cache, and {why_offline()}, or give a local .jsonl file"
            ) from error
        raise DataError(
            f"{where} cannot be loaded from the hub ({first_line(error)}): check the name, or give a local .jsonl file"
        ) from error
    if not isinstance(rows, Dataset):
        raise DataError(f"{where} has no split {split!r} of rows: name one with --split")
    return rows

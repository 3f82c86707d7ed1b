"""Which formats there are, and how an evaluation is written in them (no torch here)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from dpo.errors import ConfigError, StorageError
from dpo.evaluation.comparison.result import result
from dpo.evaluation.comparison.rows import RESULT, RowStore
from dpo.evaluation.comparison.table import Table
from dpo.evaluation.formats.arenas import alpaca_eval, arena_hard, battles, llm_comparator
from dpo.evaluation.formats.harnesses import every_eval_ever, lm_eval, rewardbench
from dpo.evaluation.formats.page import html
from dpo.evaluation.formats.source import Exported, Files
from dpo.evaluation.formats.tables import csv_tables, latex
from dpo.files import write_atomically
from dpo.runs.files import reason

FORMATS: Mapping[str, Callable[[Exported], Files]] = {
    "alpaca-eval": alpaca_eval,
    "arena-hard": arena_hard,
    "battles": battles,
    "csv": csv_tables,
    "every-eval-ever": every_eval_ever,
    "html": html,
    "latex": latex,
    "llm-comparator": llm_comparator,
    "lm-eval": lm_eval,
    "rewardbench": rewardbench,
}
EXPORTS = "exports"


def check_formats(names: Sequence[str]) -> None:
    """Refuse what no format is called.

    Raises:
        ConfigError: one of the names is none of `FORMATS`.
    """
    for name in names:
        if name not in FORMATS:
            raise ConfigError(f"No format is called {name!r}: use {', '.join(FORMATS)}")


def export(directory: str | Path, formats: Sequence[str], target: str | Path | None = None) -> list[Path]:
    """Write an evaluation in other tools' formats and return the files, one folder a format.

    Args:
        directory: an evaluation's.
        formats: of `FORMATS`.
        target: where the folders go; None: `exports` in the evaluation's directory.

    Raises:
        ConfigError: no format is called so.
        DataError: the directory holds no evaluation.
        StorageError: a file cannot be written; those before it are whole.
    """
    check_formats(formats)
    if not formats:
        return []
    store = RowStore(directory)
    made = result(store)
    assert store.plan is not None  # else there is no result
    written = store.path / RESULT
    stamp = written.stat().st_mtime if written.exists() else 0.0
    source = Exported(store, Table(store, store.plan), made, stamp, version("dpo-workbench"))
    root = Path(target) if target is not None else store.path / EXPORTS
    paths = []
    for name in formats:
        for relative, text in FORMATS[name](source).items():
            path = root / name / relative
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                # Half a character that a prompt may hold is no UTF-8, and the tools would not read it.
                write_atomically(path, text.encode("utf-8", "replace"))
            except OSError as error:
                raise StorageError(f"{path} cannot be written ({reason(error)}): name another place") from error
            paths.append(path)
    return paths

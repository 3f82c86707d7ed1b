"""From sources to training and held-out pairs."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np

from dpo.arrays import Ints
from dpo.errors import DataError
from dpo.preferences.formats import Recognised
from dpo.preferences.normalise import Normalised, drawn, normalise, tally
from dpo.preferences.spec import DataSpec
from dpo.preferences.split import SALT, half_of, held_out_of, position
from dpo.preferences.table import COLUMNS

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Preferences:
    """Pairs for training and held-out pairs, with what a run records about them.

    Both have the columns `prompt`, `chosen` and `rejected`; where some prompt has several turns or a
    system message also `messages`: a list of `{role, content}` without the answer, or None where the
    prompt is one user turn.
    """

    spec: DataSpec
    train: Dataset
    held_out: Dataset
    info: dict[str, Any]
    everything: Normalised
    """Both sides in the order of their sources, without row numbers."""
    rows: Ints
    """`(pairs,)`: the row of each pair of `everything`; of several sources the rows are counted on."""

    @property
    def evaluated(self) -> Dataset:
        """The held-out pairs that evaluations measure: the first `max_eval_pairs` of them."""
        most = self.spec.max_eval_pairs
        return self.held_out if most is None else self.held_out.select(range(min(len(self.held_out), most)))

    def sample(self, most: int) -> Normalised:
        """The pairs of both sides with their row numbers, as an audit wants them: all, or `most` by a fixed seed."""
        count = len(self.rows)
        places = drawn(count, most)
        import datasets

        shown = not datasets.are_progress_bars_disabled()
        datasets.disable_progress_bars()  # of "Flattening the indices", which nobody asked for
        try:
            some = self.everything.pairs.select(places).add_column("row", self.rows[places])
        finally:
            if shown:
                datasets.enable_progress_bars()
        return replace(self.everything, pairs=some, total=count)


class PairOptions(TypedDict, total=False):
    """What `load_preferences` takes beside the source, all of it by name; see `DataSpec`."""

    split: str
    num_samples: int | None
    eval_fraction: float
    seed: int
    half: int | None
    prompt_column: str | None
    chosen_column: str | None
    rejected_column: str | None
    layout: str | None
    swap: bool


def load_preferences(source: str, **options: Unpack[PairOptions]) -> Preferences:
    """Load preference pairs and split them by prompt.

    `source` is a name, a file or a hub id, or several with weights: `"human-like=2,orca=1"` draws
    (by `seed`, without repeating a pair) the largest mix of which two thirds are from the first;
    without weights all pairs of all sources are taken.

    Rows with a blank or missing side, or with equal answers, are dropped and counted.  With
    `num_samples`, that many pairs are drawn (by `seed`, 0) before the split, so a prompt is on the
    same side however many are drawn.  `eval_fraction` (0.05) of the prompts are held out.

    >>> pairs = load_preferences("sample", num_samples=100)
    >>> pairs.train.column_names
    ['prompt', 'chosen', 'rejected']

    Raises:
        DataError: nothing there, not preference data, ambiguous, or no pair left.
        ConfigError: weights that are no positive numbers.
    """
    if unknown := options.keys() - PairOptions.__annotations__.keys():
        raise TypeError(f"load_preferences() got an unexpected keyword argument {min(unknown)!r}")
    return load(DataSpec.of({"dataset": source} | options))


def load(spec: DataSpec) -> Preferences:
    """The pairs that a spec describes, as `load_preferences` reads and splits them.

    Raises:
        DataError: nothing there, not preference data, ambiguous, or no pair left.
        ConfigError: weights that are no positive numbers.
    """
    from datasets import concatenate_datasets

    source, eval_fraction, sources = spec.source, spec.eval_fraction, spec.sources()
    parts = [normalise(name, spec.split, spec.columns) for name in sources]
    tables = _mixed(parts, list(sources.values()), spec.num_samples, spec.seed)
    rows = _numbered(tables, parts)
    tables = [table.remove_columns("row") for table in tables]
    pairs = concatenate_datasets(tables) if len(tables) > 1 else tables[0]
    positions = [position(row["prompt"]) for row in _rows(pairs)]
    held_out = held_out_of(positions, eval_fraction)
    prompts = len(set(positions))
    if held_out.all() or (eval_fraction > 0 and not held_out.any()):
        missing = "training" if held_out.all() else "held out"
        raise DataError(
            f"{source}: none of its {prompts} different prompts falls on the {missing} side with "
            f"--eval-fraction {eval_fraction:g}: change it, or give more pairs"
        )
    together = _together(parts)
    info = {
        "source": source,
        "split_name": spec.split,
        "layout": together.layout.name,
        "confidence": together.confidence,
        "fingerprint": fingerprint(_rows(pairs)),
        "rows": sum(part.rows for part in parts),
        "pairs": len(pairs),
        "prompts": prompts,
        "dropped": tally(parts),
        "split": {"method": "sha256(salt + prompt)", "salt": SALT, "fraction": eval_fraction},
    }
    if len(parts) > 1:
        info["mix"] = [
            {"source": part.source, "weight": weight, "pairs": len(table), "available": len(part.pairs)}
            for part, weight, table in zip(parts, sources.values(), tables, strict=True)
        ]
    everything = Normalised(source, together, pairs, sum(part.rows for part in parts), _left_out(parts))
    sides = [[row for row, held in enumerate(held_out) if held == side] for side in (False, True)]
    if spec.half is not None:
        halves = [half_of(row["prompt"]) for row in _rows(pairs)]
        sides[0] = [row for row in sides[0] if halves[row] == spec.half]
        if not sides[0]:
            raise DataError(
                f"{source}: none of its {prompts} different prompts is in half {spec.half}: give more pairs"
            )
        info["half"] = spec.half
    return Preferences(spec, pairs.select(sides[0]), pairs.select(sides[1]), info, everything, rows)


def fingerprint(pairs: Iterable[dict[str, str]]) -> str:
    """16 hex digits that depend on the pairs and their order alone, the same on every machine."""
    digest = hashlib.sha256()
    for pair in pairs:
        for name in COLUMNS:
            digest.update(pair[name].encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()[:16]


def _mixed(
    parts: Sequence[Normalised], weights: Sequence[float | None], num_samples: int | None, seed: int
) -> list[Dataset]:
    """A table of each source, in their shares, of `num_samples` pairs together if so many can be had."""
    tables = [part.pairs for part in parts]
    given = [weight for weight in weights if weight is not None]
    if given and len(tables) > 1:
        shares = [weight / sum(given) for weight in given]
        total = min(len(table) / share for table, share in zip(tables, shares, strict=True))
        total = min(total, num_samples or total)
        return [_drawn(table, max(1, round(total * share)), seed) for table, share in zip(tables, shares, strict=True)]
    every = sum(map(len, tables))
    if num_samples is None or num_samples >= every:
        return tables
    chosen = sorted(random.Random(seed).sample(range(every), num_samples))
    starts = [sum(map(len, tables[:place])) for place in range(len(tables) + 1)]
    return [
        table.select([row - first for row in chosen if first <= row < last])
        for table, first, last in zip(tables, starts, starts[1:], strict=False)
    ]


def _drawn(table: Dataset, count: int, seed: int) -> Dataset:
    if count >= len(table):
        return table
    return table.select(sorted(random.Random(seed).sample(range(len(table)), count)))


def _numbered(tables: Sequence[Dataset], parts: Sequence[Normalised]) -> Ints:
    """The row of each pair; those of a second source go on where the first one's end."""
    starts = itertools.accumulate((part.rows for part in parts), initial=0)
    columns = [table.select_columns("row").with_format("numpy")[:]["row"] for table in tables]
    return np.concatenate([column + start for column, start in zip(columns, starts, strict=False)]).astype(np.int64)


def _together(parts: Sequence[Normalised]) -> Recognised:
    """What was recognised, as one: the names of all layouts and the least confidence."""
    first = parts[0].recognised
    name = " + ".join(dict.fromkeys(part.recognised.layout.name for part in parts))
    least = min(part.recognised.confidence for part in parts)
    return replace(first, layout=replace(first.layout, name=name), confidence=least)


def _left_out(parts: Sequence[Normalised]) -> dict[str, list[int]]:
    """Dropped rows by reason, numbered as `_numbered` does."""
    found: dict[str, list[int]] = {}
    start = 0
    for part in parts:
        for reason, rows in part.dropped.items():
            found.setdefault(reason, []).extend(row + start for row in rows)
        start += part.rows
    return found


def _rows(pairs: Dataset) -> Iterable[dict[str, str]]:
    for start in range(0, len(pairs), 1024):
        chunk = pairs[start : start + 1024]
        for texts in zip(*(chunk[name] for name in COLUMNS), strict=True):
            yield dict(zip(COLUMNS, texts, strict=True))

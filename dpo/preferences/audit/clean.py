"""Apply an audit's remedies: a new file of pairs, and a log of every row that was dropped or changed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dpo.counting import counted
from dpo.errors import ConfigError, StorageError
from dpo.files import replacing
from dpo.preferences.audit.ches import DropChes
from dpo.preferences.audit.findings import leaking_pairs
from dpo.preferences.audit.pairing import NAMES, SIDES
from dpo.preferences.audit.pipeline import contradicted
from dpo.preferences.audit.remedies import advised
from dpo.preferences.audit.repairing import repair
from dpo.preferences.audit.result import Finding
from dpo.preferences.audit.shortcuts import FEWEST_PAIRS, bag_of_words
from dpo.preferences.audit.signals import Signals, StepProgress, measure
from dpo.preferences.audit.surface import EMOJI
from dpo.preferences.audit.words import tf_idf
from dpo.preferences.normalise import Columns, Normalised, normalise
from dpo.preferences.table import COLUMNS

STRIPPED: Mapping[str, Callable[[str], str]] = {
    "emoji": lambda text: _tidy(EMOJI.sub("", text)),
    "exclamation": lambda text: re.sub(r"!+", ".", text),
    "lines": lambda text: re.sub(r"\s*\n\s*", " ", text).strip(),
    "markdown": lambda text: re.sub(r"\*\*|__|```\w*\n?|(?m:^#+ )", "", text),
}
"""What `--strip-shortcut` takes out of both answers, by name."""


@dataclass(frozen=True)
class Remedies:
    """Which remedies to apply."""

    drop_identical: bool = False
    drop_duplicates: bool = False
    drop_mispaired: bool = False
    repair_mispaired: bool = False
    drop_leaking: bool = False
    drop_swapped: bool = False
    drop_private: bool = False
    drop_ches: DropChes | None = None
    strip: tuple[str, ...] = ()

    def validate(self) -> None:
        """Refuse contradictions and shortcuts that cannot be stripped.

        Raises:
            ConfigError: one line that says which.
        """
        if self.drop_mispaired and self.repair_mispaired:
            raise ConfigError("--drop-mispaired and --repair-mispaired contradict each other: give one of them")
        if self.drop_ches is not None and not 0 < self.drop_ches.share < 1:
            raise ConfigError(f"--drop-ches {self.drop_ches.share:g}: it must be a share such as 5% or 0.05")
        for name in self.strip:
            if name not in STRIPPED:
                raise ConfigError(f"--strip-shortcut {name}: choose from {', '.join(STRIPPED)}")


def remedies_of(findings: Iterable[Finding]) -> Remedies:
    """What findings advise; `Remedies()` where they advise nothing that `clean` can do."""
    given: dict[str, Any] = {}
    for flag in advised(findings):
        name, *values = flag.removeprefix("--").replace("-", "_").split(" ")
        given |= {"strip": tuple(values)} if name == "strip_shortcut" else {name: True}
    return Remedies(**given)


@dataclass(frozen=True)
class ExampleRow:
    """A row before and after: prompt, chosen, rejected of each; `after` is None where it is dropped."""

    row: int
    why: str
    before: Mapping[str, str]
    after: Mapping[str, str] | None


@dataclass(frozen=True)
class Effect:
    """What a cleaning would do: `dropped` and `changed` count rows by reason."""

    rows: int
    written: int
    dropped: Mapping[str, int]
    changed: Mapping[str, int]
    examples: tuple[ExampleRow, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cleaned:
    """What a cleaning wrote and did."""

    output: Path
    log: Path
    rows: int
    written: int
    dropped: Mapping[str, int]
    changed: Mapping[str, int]
    notes: tuple[str, ...] = ()
    """What was done about mispaired rows, and how sure that is: a sentence for each side."""


def clean(
    source: str,
    output: Path,
    remedies: Remedies,
    *,
    split: str = "train",
    columns: Columns | None = None,
    eval_fraction: float = 0.05,
    progress: StepProgress | None = None,
) -> Cleaned:
    """Write the pairs of `source` with `remedies` applied to `output`, and the log to `OUTPUT.log.jsonl`.

    The file holds prompt, chosen, rejected (and messages, where there are) as JSON lines.  Rows that
    give no pair are left out and logged.  Both files appear when they are complete, or not at all.

    Raises:
        ConfigError: contradicting remedies; the output is no .jsonl file or exists already; all rows would be dropped.
        DataError: see `normalise`.
        StorageError: it cannot be written.
    """
    remedies.validate()
    log = output.with_name(output.name + ".log.jsonl")
    if output.suffix != ".jsonl":
        raise ConfigError(f"--output {output}: the pairs are written as JSON lines; name a .jsonl file")
    if there := next((path for path in (output, log) if path.exists()), None):
        raise ConfigError(f"--output: {there} exists already; remove it or name another file")
    data, plan = _prepared(source, split, columns, remedies, eval_fraction, progress)
    dropped: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    entries: list[dict[str, Any]] = []
    for reason, rows in data.dropped.items():
        dropped[reason] += len(rows)
        entries += [{"row": row, "action": "dropped", "why": reason} for row in rows]
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with replacing(output) as pairs_file, replacing(log) as log_file:
            for lost in entries:
                _write_line(log_file, lost)
            written = 0
            for pair, entry in _results(data, plan, remedies.strip):
                if entry is not None:
                    (dropped if entry["action"] == "dropped" else changed)[entry["why"]] += 1
                    _write_line(log_file, entry)
                if pair is not None:
                    written += 1
                    _write_line(pairs_file, pair)
    except OSError as error:
        raise StorageError(
            f"{output} cannot be written ({error.strerror or error}): check the path and the room on the disk"
        ) from error
    return Cleaned(output, log, data.rows, written, dict(dropped), dict(changed), plan.notes)


def preview(
    source: str,
    remedies: Remedies,
    *,
    split: str = "train",
    columns: Columns | None = None,
    eval_fraction: float = 0.05,
    examples: int = 2,
    progress: StepProgress | None = None,
) -> Effect:
    """What `clean` would write with the same arguments, with `examples` rows of each reason; nothing is written.

    Raises:
        ConfigError: contradicting remedies; no row would be left that could be repaired.
        DataError: see `normalise`.
    """
    remedies.validate()
    data, plan = _prepared(source, split, columns, remedies, eval_fraction, progress)
    dropped: Counter[str] = Counter({reason: len(rows) for reason, rows in data.dropped.items()})
    changed: Counter[str] = Counter()
    shown: list[ExampleRow] = []
    written = 0
    for place, (pair, entry) in enumerate(_results(data, plan, remedies.strip)):
        written += pair is not None
        if entry is None:
            continue
        counts, why = dropped if pair is None else changed, entry["why"]
        counts[why] += 1
        if counts[why] <= examples:
            shown.append(
                ExampleRow(entry["row"], why, _texts(data.pairs[place]), None if pair is None else _texts(pair))
            )
    return Effect(data.rows, written, dict(dropped), dict(changed), tuple(shown), plan.notes)


def _texts(pair: Mapping[str, Any]) -> dict[str, str]:
    return {side: pair[side] for side in SIDES}


def _prepared(
    source: str,
    split: str,
    columns: Columns | None,
    remedies: Remedies,
    eval_fraction: float,
    progress: StepProgress | None,
) -> tuple[Normalised, _Plan]:
    """All pairs of the source, and what becomes of them."""
    data = normalise(source, split, replace(columns or Columns(), keep_equal=not remedies.drop_identical))
    return data, _plan(data, remedies, eval_fraction, progress)


@dataclass(frozen=True)
class _Plan:
    """By place in the table: why a pair goes, and where one of its sides comes from instead."""

    drop: Mapping[int, str]
    take: Mapping[int, tuple[str, int]]
    notes: tuple[str, ...] = ()


def _plan(data: Normalised, remedies: Remedies, eval_fraction: float, progress: StepProgress | None) -> _Plan:
    drop: dict[int, str] = {}
    take: dict[int, tuple[str, int]] = {}
    measured = any(
        (
            remedies.drop_duplicates, remedies.drop_mispaired, remedies.repair_mispaired, remedies.drop_leaking,
            remedies.drop_swapped, remedies.drop_private,
        )
    )  # fmt: skip
    if remedies.drop_ches is not None:
        why = f"among the {remedies.drop_ches.share:.3g} with the highest CHES under {remedies.drop_ches.model}"
        drop = dict.fromkeys(remedies.drop_ches.places(data.pairs), why)
    if not measured:
        return _Plan(drop, take)
    signals = measure(data.pairs, eval_fraction, progress)
    notes: list[str] = []
    if remedies.drop_mispaired or remedies.repair_mispaired:
        mispaired, take, notes = _mispaired(data.source, signals, remedies.repair_mispaired)
        drop |= mispaired
    for places, why, wanted in (
        (_repeats(signals), "duplicate of an earlier pair", remedies.drop_duplicates),
        (leaking_pairs(signals).tolist(), "held out, and nearly repeats a training pair", remedies.drop_leaking),
        (_swapped(signals) if remedies.drop_swapped else [], "looks swapped", remedies.drop_swapped),
        (_private(signals), "holds what looks like personal data or a secret", remedies.drop_private),
    ):
        if wanted:
            for place in places:
                drop.setdefault(int(place), why)
    return _Plan(drop, {place: found for place, found in take.items() if place not in drop}, tuple(notes))


def _mispaired(
    source: str, signals: Signals, repairing: bool
) -> tuple[dict[int, str], dict[int, tuple[str, int]], list[str]]:
    """Which rows go, where texts come from, and what is told of it."""
    pairing, rows = signals.pairing, len(signals.row)
    drop: dict[int, str] = {}
    take: dict[int, tuple[str, int]] = {}
    notes: list[str] = []
    displaced = {} if pairing.column is None else {pairing.column: np.arange(rows)}
    for side in dict.fromkeys(block.side for block in pairing.blocks):
        inside = [np.arange(b.first, b.last + 1) for b in pairing.blocks if b.side == side]
        displaced[side] = np.unique(np.concatenate(inside))
    if pairing.column is not None and not repairing:
        raise ConfigError(
            f"--drop-mispaired would leave nothing: all {NAMES[pairing.column]} of {source} belong to other rows; "
            "give --repair-mispaired, or mend what wrote the data"
        )
    scattered = [found for found in pairing.scattered if found.clear]
    suspected = [*displaced.values(), *(found.places for found in pairing.scattered)]
    paired = np.setdiff1d(np.arange(rows), np.concatenate([np.zeros(0, np.int64), *suspected]))
    sides = None
    if repairing and displaced:
        sides = dict(zip(SIDES, tf_idf([signals.columns[name] for name in SIDES], len(signals.words)), strict=True))
    for side, places in displaced.items():
        if sides is None:
            drop |= dict.fromkeys(places.tolist(), "mispaired")
            notes.append(f"Left out {counted(len(places), 'row')} whose {NAMES[side]} belong to other rows")
            continue
        found = repair(places, paired, side, sides)
        notes.append(found.sentence())
        for place, origin in found.sources.items():
            if origin is None:
                drop[place] = f"mispaired, and no {side} text of the block fits clearly"
            else:
                take[place] = (side, origin)
    for single in scattered:
        drop |= dict.fromkeys(single.places.tolist(), f"its {single.side} text fits another row, not this one")
        notes.append(
            f"Left out {len(single.places):,} single rows whose {NAMES[single.side]} fit other rows; "
            f"{single.precision:.0%} of them are mispaired by estimate{single.rest()}"
        )
    if not notes:
        notes.append("No row could be told to be mispaired")
    return drop, take, notes


def _repeats(signals: Signals) -> list[int]:
    repeats: list[int] = np.flatnonzero(signals.near_pair != np.arange(len(signals.near_pair))).tolist()
    return repeats


def _swapped(signals: Signals) -> list[int]:
    if min(signals.tested.sum(), (~signals.tested).sum()) < FEWEST_PAIRS // 2:
        return []
    sides = signals.columns["chosen"], signals.columns["rejected"]
    rule, _, margins = bag_of_words(*sides, signals.tested, signals.words.names())
    places, blocks = contradicted(rule.accuracy, margins)
    return [*places.tolist(), *(place for first, last in blocks for place in range(first, last + 1))]


def _private(signals: Signals) -> list[int]:
    return sorted({place for places in signals.private.values() for place in places})


def _results(
    data: Normalised, plan: _Plan, strip: Sequence[str]
) -> Iterator[tuple[dict[str, Any] | None, dict[str, Any] | None]]:
    """Each pair as it is written (None: left out), with its line for the log (None: unchanged)."""
    for start in range(0, len(data.pairs), 512):
        batch = data.pairs[start : start + 512]
        for place, number in enumerate(batch["row"], start):
            if place in plan.drop:
                yield None, {"row": number, "action": "dropped", "why": plan.drop[place]}
                continue
            pair = _pair_at(batch, place - start)
            changes, origin_of = [], {}
            if place in plan.take:
                side, origin = plan.take[place]
                other = data.pairs[origin]
                pair = _with_side(pair, side, other)
                changes.append(f"{side} re-paired")
                origin_of = {"from_row": other["row"]}
            stripped = _stripped(pair, strip)
            if stripped != pair:
                if not _is_pair(stripped):
                    yield None, {"row": number, "action": "dropped", "why": f"nothing left without {', '.join(strip)}"}
                    continue
                changes.append(f"stripped of {', '.join(strip)}")
            entry = {"row": number, "action": "changed", "why": ", ".join(changes)} | origin_of
            yield stripped, entry if changes else None


def _pair_at(batch: Mapping[str, Sequence[Any]], place: int) -> dict[str, Any]:
    pair = {name: batch[name][place] for name in COLUMNS}
    if "messages" in batch and batch["messages"][place] is not None:
        pair["messages"] = batch["messages"][place]
    return pair


def _with_side(pair: dict[str, Any], side: str, other: Mapping[str, Any]) -> dict[str, Any]:
    """The pair with the text of one side from another row; a prompt brings its turns."""
    made = pair | {side: other[side]}
    if side == "prompt":
        made.pop("messages", None)
        if other.get("messages") is not None:
            made["messages"] = other["messages"]
    return made


def _is_pair(pair: Mapping[str, Any]) -> bool:
    return bool(pair["chosen"].strip() and pair["rejected"].strip()) and pair["chosen"] != pair["rejected"]


def _stripped(pair: dict[str, Any], strip: Sequence[str]) -> dict[str, Any]:
    answers = {side: pair[side] for side in ("chosen", "rejected")}
    for name in strip:
        answers = {side: STRIPPED[name](text) for side, text in answers.items()}
    return pair | answers


def _tidy(text: str) -> str:
    """`text` without the blanks that a removed sign leaves before a stop or at an end."""
    text = re.sub(r"[ \t]{2,}", " ", text)
    text = re.sub(r"[ \t]+(?=[.,!?;:\n])", "", text)
    return re.sub(r"(?m)^[ \t]+|[ \t]+$", "", text).strip("\n") if text.strip() else ""


def _write_line(file: BinaryIO, value: Mapping[str, Any]) -> None:
    file.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")

"""The audit of preference pairs: what is wrong with them, before training costs anything."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dpo.arrays import Floats, Ints
from dpo.preferences.audit import findings as say
from dpo.preferences.audit import tokens
from dpo.preferences.audit.language import languages
from dpo.preferences.audit.mispaired import mispaired
from dpo.preferences.audit.pairing import by_chance, ratios_of, stretches
from dpo.preferences.audit.result import Audit, Finding
from dpo.preferences.audit.shortcuts import (
    FEWEST_PAIRS,
    ShortcutRule,
    bag_of_words,
    first_words,
    simple_rule,
    surface_rules,
)
from dpo.preferences.audit.signals import Signals, StepProgress, measure
from dpo.preferences.audit.surface import SECRET
from dpo.preferences.audit.tokens import TokenLimits, Vocabulary
from dpo.preferences.audit.tokens import measure as measure_tokens
from dpo.preferences.normalise import Normalised, drawn
from dpo.preferences.sources import LICENCES
from dpo.severity import rank

MOST_PAIRS = 200_000
"""Pairs that are compared with each other: about a minute and 1.5 GB on a CPU core, however large the file is."""
_SURE_OF_LABELS = 0.8


def audit(
    data: Normalised,
    vocabularies: Sequence[Vocabulary] = (),
    *,
    limits: TokenLimits | None = None,
    eval_fraction: float = 0.05,
    reward_accuracy: float | None = None,
    progress: StepProgress | None = None,
    signals: Signals | None = None,
) -> Audit:
    """Audit normalised pairs: all of them, or `MOST_PAIRS` where there are more (`Audit.scope` tells).

    Args:
        vocabularies: of the models to be trained; lengths and unknown tokens are told for each.
        limits: where training would cut prompts and answers (tokens).
        eval_fraction: share of the prompts that training would hold out.
        reward_accuracy: a run's held-out reward accuracy, to stand beside the shortcuts'.
        progress: hears the step and its share done.
        signals: what `signals.measure` found on the same pairs, if it was called before; the tokens that
            are counted here are added to it.
    """
    began = time.perf_counter()
    tell = progress or (lambda step, share: None)
    if signals is None:
        data = data.drawn(MOST_PAIRS)
    signals = signals or measure(data.pairs, eval_fraction, progress)
    found = say.dropped(data.dropped, data.rows)
    measures: dict[str, Any] = {"sampled_of": data.total, "whole": data.whole}
    for part in (say.duplicates(signals), mispaired(signals)):
        found += part[0]
        measures |= part[1]
    measures["characters"] = _lengths(signals)
    tell("looking for shortcuts", 0.0)
    rules, words, swapped = _shortcuts(signals)
    models, unknown, of_tokens = _tokens(data, signals, vocabularies, limits or TokenLimits(), tell)
    rules += unknown
    found += swapped + of_tokens
    tell("looking at languages", 0.0)
    mix, differing, looked_at = languages(data.pairs, signals)
    found += [*say.shortcuts(rules, words, reward_accuracy), *say.languages(mix, differing, looked_at)]
    found += [*say.markup(signals), *say.private(signals, SECRET), say.licence(LICENCES.get(data.source))]
    measures |= {
        "models": models,
        "shortcuts": {rule.name: {"accuracy": round(rule.accuracy, 4), "says": rule.says} for rule in rules},
        "languages": mix,
        "reward_accuracy": reward_accuracy,
        "dropped": data.counts(),
    }
    tell("done", 1.0)
    return Audit(
        source=data.source,
        layout=data.recognised.layout.name,
        confidence=round(data.recognised.confidence, 3),
        rows=data.rows,
        pairs=len(data.pairs),
        findings=tuple(sorted(found, key=lambda finding: rank(finding.severity))),
        measures=measures,
        seconds=round(time.perf_counter() - began, 2),
    )


def _testable(signals: Signals) -> bool:
    return min(signals.tested.sum(), (~signals.tested).sum()) >= FEWEST_PAIRS // 2


def _shortcuts(signals: Signals) -> tuple[list[ShortcutRule], list[str], list[Finding]]:
    """The rules that read no meaning, the telling words, and findings on labels that the words contradict."""
    if not _testable(signals):
        return [], [], []
    sides = signals.columns["chosen"], signals.columns["rejected"]
    rules = surface_rules(signals.surface["chosen"], signals.surface["rejected"], signals.tested)
    rules.append(first_words(*sides, signals.tested, len(signals.words)))
    bag, words, margins = bag_of_words(*sides, signals.tested, signals.words.names())
    return [*rules, bag], words, say.swapped(*contradicted(bag.accuracy, margins), signals)


def _tokens(
    data: Normalised, signals: Signals, vocabularies: Sequence[Vocabulary], limits: TokenLimits, tell: StepProgress
) -> tuple[dict[str, Any], list[ShortcutRule], list[Finding]]:
    """Measures by vocabulary, the rules that count unknown tokens, and findings; the counts are added to `signals`."""
    rows = drawn(len(data.pairs), tokens.MOST_PAIRS)
    models: dict[str, Any] = {}
    rules: list[ShortcutRule] = []
    found: list[Finding] = []
    for place, vocabulary in enumerate(vocabularies):
        tell(f"tokenising for {vocabulary.name}", place / len(vocabularies))
        models[vocabulary.name], counted = measure_tokens(data.pairs, rows, vocabulary, limits)
        signals.tokens[vocabulary.name] = counted
        unknown = counted.unknown
        found += say.tokens(vocabulary.name, models[vocabulary.name])
        if _testable(signals) and unknown.any():
            difference = (unknown[:, 0] - unknown[:, 1]).astype(np.float32)
            rules.append(simple_rule(f"<unk> of {vocabulary.name}", difference, signals.tested[rows]))
    return models, rules, found


def contradicted(accuracy: float, margins: Floats) -> tuple[Ints, list[tuple[int, int]]]:
    """Pairs whose words speak against their label: single places, and blocks of them (first, last).

    Only where words tell the sides apart at all, with an accuracy of 0.8 or more.
    """
    if accuracy < _SURE_OF_LABELS or not len(margins):
        return np.zeros(0, np.int64), []
    ratio = ratios_of(margins, -margins[None], np.ones(len(margins), bool))
    blocks = [
        (first, last)
        for first, last, _ in stretches(ratio, by_chance(ratio))
        if (margins[first : last + 1] < 0).mean() > 0.6
    ]
    clear = np.quantile(np.abs(margins), 0.5)
    inside = np.zeros(len(margins), bool)
    for first, last in blocks:
        inside[first : last + 1] = True
    return np.flatnonzero((margins < -clear) & ~inside), blocks


def _lengths(signals: Signals) -> Mapping[str, Any]:
    """Quantiles of the answers' lengths in characters, and a histogram for charts."""
    chosen, rejected = signals.surface["chosen"][:, 0], signals.surface["rejected"][:, 0]
    edges = np.unique(np.quantile(np.concatenate([chosen, rejected]), np.linspace(0, 0.99, 41)).round())
    if len(edges) < 2:
        edges = np.array([edges[0], edges[0] + 1])
    linear = np.linspace(edges[0], edges[-1], 41)
    return {
        name: {
            "p50": int(np.quantile(values, 0.5)),
            "p90": int(np.quantile(values, 0.9)),
            "max": int(values.max()),
            "histogram": np.histogram(np.minimum(values, linear[-1]), linear)[0].tolist(),
        }
        for name, values in (("chosen", chosen), ("rejected", rejected))
    } | {"edges": [round(float(edge), 1) for edge in linear]}

"""From what was measured to findings: one sentence each, with rows, evidence and a remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dpo.arrays import Ints
from dpo.counting import counted
from dpo.preferences.audit.result import Finding, ranges
from dpo.preferences.audit.shortcuts import ShortcutRule
from dpo.preferences.audit.signals import Signals
from dpo.preferences.turns import DropReason
from dpo.severity import Severity

_DROPPED: Mapping[str, tuple[str, Severity, str]] = {
    DropReason.EQUAL_ANSWERS: ("identical-sides", "warning", "have the same text as chosen and rejected answer"),
    DropReason.BLANK_PROMPT: ("blank", "warning", "have a blank prompt"),
    DropReason.BLANK_CHOSEN: ("blank", "warning", "have a blank chosen answer"),
    DropReason.BLANK_REJECTED: ("blank", "warning", "have a blank rejected answer"),
    DropReason.NO_TEXT: ("missing", "warning", "lack a text"),
    DropReason.PROMPTS_DIFFER: ("prompts-differ", "warning", "hold two conversations that differ before the answer"),
    DropReason.NOT_AN_ANSWER: ("not-an-answer", "warning", "end in something else than an answer"),
    DropReason.ALONE: ("unpaired", "note", "have no partner for their prompt (single answers or messages)"),
    DropReason.TIE: ("ties", "note", "have no better answer (a tie)"),
}
PRIVATE_FINDINGS = ("personal-data", "secret")
_SHORTCUT_HIGH, _SHORTCUT_WARNING = 0.9, 0.75
_UNK_GAP = 0.05


def dropped(reasons: Mapping[str, list[int]], rows: int) -> list[Finding]:
    """Rows that gave no pair, by reason."""
    found = []
    for reason, numbers in reasons.items():
        code, severity, says = _DROPPED.get(reason, ("unreadable", "warning", f"gave no pair ({reason})"))
        # Most replies of a tree are neither the best nor the worst.
        if len(numbers) > rows // 10 and reason != DropReason.ALONE:
            severity = "fault"
        remedy = (
            "--drop-identical" if code == "identical-sides" else "training leaves these rows out; dpo data clean too"
        )
        sentence = _rows(len(numbers), says)
        found.append(Finding(code, severity, sentence, ranges(numbers), len(numbers), {"of": rows}, remedy))
    return found


def duplicates(signals: Signals) -> tuple[list[Finding], dict[str, Any]]:
    """Repeated pairs and prompts, exact and near, and prompts on both sides of the held-out split."""
    count = len(signals.row)
    exact = _repeated(signals.pair_number)
    near = np.flatnonzero(signals.near_pair != np.arange(count))
    near_only = np.setdiff1d(near, exact)
    prompts = _repeated(signals.prompt_number)
    leaking = leaking_pairs(signals)
    held_out, unique = int(signals.held_out.sum()), len(np.unique(signals.prompt_number))
    share = len(leaking) / max(held_out, 1)
    has = "has" if len(leaking) == 1 else "have"
    found = [
        _of_places(
            signals, "duplicate-pairs", exact, 0.02, "repeat an earlier pair word for word", "--drop-duplicates"
        ),
        _of_places(
            signals, "near-duplicate-pairs", near_only, 0.05,
            "repeat an earlier pair nearly (four of five three-word runs are the same)", "--drop-duplicates",
        ),
        _of_places(
            signals, "repeated-prompts", prompts, 1.0, f"repeat a prompt: {unique:,} prompts are different",
            "none needed: pairs are split by prompt, so none is on both sides", {"of": count, "unique": unique},
        ),
        _finding(
            "leakage", "warning" if share > 0.02 else "note",
            f"Of {held_out:,} held-out pairs {len(leaking):,} {has} a prompt or a chosen answer that nearly repeats a "
            "training pair's", signals.row[leaking], {"share": round(share, 4)}, "--drop-leaking",
        ),
        _of_places(
            signals, "prompt-in-answer", signals.repeats_prompt, 0.1, "repeat the whole prompt inside an answer",
            "look at them: a layout read wrongly shows like this",
        ),
    ]  # fmt: skip
    return [finding for finding in found if finding.count], {
        "unique_prompts": unique,
        "repeated_prompts": len(prompts),
        "near_repeated_prompts": int((signals.near_prompt != np.arange(count)).sum()) - len(prompts),
        "duplicate_pairs": len(exact),
        "near_duplicate_pairs": len(near_only),
        "held_out": held_out,
        "leaking": len(leaking),
    }


def leaking_pairs(signals: Signals) -> Ints:
    """Held-out pairs whose prompt nearly repeats, or whose chosen answer repeats, a training pair's."""
    training = ~signals.held_out
    leaking = np.zeros(len(training), bool)
    for groups in (signals.near_prompt, signals.chosen_number):
        leaking |= np.isin(groups, np.unique(groups[training])) & signals.held_out
    return np.flatnonzero(leaking)


def shortcuts(rules: Sequence[ShortcutRule], words: Sequence[str], reached: float | None) -> list[Finding]:
    """Rules that decide most pairs without reading them; `reached` is a run's reward accuracy."""
    found = []
    for rule in rules:
        if rule.accuracy < _SHORTCUT_WARNING:
            continue
        severity: Severity = "fault" if rule.accuracy >= _SHORTCUT_HIGH else "warning"
        beside = f"; the run's reward accuracy is {reached:.3f}" if reached is not None else ""
        sentence = (
            f"“{rule.says}” alone tells chosen from rejected in {rule.accuracy:.1%} of {rule.pairs:,} pairs that the "
            "rule was not made from"
        )
        evidence: dict[str, Any] = {"rule": rule.name, "accuracy": round(rule.accuracy, 4), "pairs": rule.pairs}
        if rule.name == "bag of words":
            evidence["words"] = list(words)
        if reached is not None:
            evidence["reward_accuracy"] = reached
        remedy = {
            "emoji": "--strip-shortcut emoji",
            "lines": "--strip-shortcut lines",
            "markdown": "--strip-shortcut markdown",
            "exclamation marks": "--strip-shortcut exclamation",
        }.get(rule.name, "compare a run's accuracy with this number before believing it; read answers too")
        if "<unk>" in rule.name:
            remedy = "train with the lossless vocabulary (dpo train does), or --strip-shortcut emoji"
        code = f"shortcut-{rule.name.split(' ')[0].strip('<>')}"
        found.append(Finding(code, severity, sentence + beside, (), 0, evidence, remedy))
    return found


def swapped(rows: Ints, blocks: Sequence[tuple[int, int]], signals: Signals) -> list[Finding]:
    """Labels that the words of the answers contradict."""
    found = []
    for first, last in blocks:
        numbers = signals.row[first : last + 1]
        sentence = (
            f"Rows {int(numbers[0])} to {int(numbers[-1])} look swapped: there the words of chosen answers are those "
            "of rejected ones elsewhere"
        )
        # A block is all rows from its first to its last, also where only some of them were looked at.
        span = ((int(numbers[0]), int(numbers[-1])),)
        remedy = "--drop-swapped, or swap them in the source"
        found.append(Finding("swapped-block", "fault", sentence, span, len(numbers), {}, remedy))
    says = "look swapped: the words of the two answers speak clearly against the label"
    single = _of_places(signals, "swapped-labels", rows, 0.01, says, "look at them; --drop-swapped leaves them out")
    return [*found, single] if len(rows) else found


def tokens(name: str, measures: Mapping[str, Any]) -> list[Finding]:
    """Cut and unknown tokens in a model's vocabulary."""
    found = []
    chosen, rejected = measures["chosen"], measures["rejected"]
    unknown, left = ([side[f"with_unk_{which}"] for side in (chosen, rejected)] for which in ("published", "lossless"))
    lossless = "train with the lossless vocabulary (dpo train does)"
    if max(unknown) > 0.001:
        sentence = (
            f"In {name}'s published vocabulary {unknown[0]:.1%} of chosen and {unknown[1]:.1%} of rejected answers "
            "hold an <unk>"
        )
        severity: Severity = "fault" if abs(unknown[0] - unknown[1]) > _UNK_GAP else "warning"
        evidence = {"model": name, "chosen": unknown[0], "rejected": unknown[1], "after_lossless": left}
        remedy = f"{lossless}: {left[0]:.1%} and {left[1]:.1%} are left"
        found.append(Finding("unk", severity, sentence, (), 0, evidence, remedy))
    if measures["lost_published"] > 0.001:
        sentence = (
            f"{measures['lost_published']:.1%} of answers do not come back from {name}'s published vocabulary as they "
            f"were, {measures['lost_lossless']:.1%} from the lossless one"
        )
        found.append(Finding("round-trip", "note", sentence, evidence={"model": name}, remedy=lossless))
    for side in ("prompt", "chosen", "rejected"):
        over, limit, lengths = (measures[side][key] for key in ("over_limit", "limit", "tokens"))
        if over >= 0.01:
            flag = "--max-prompt-length" if side == "prompt" else "--max-completion-length"
            texts = "prompts" if side == "prompt" else f"{side} answers"
            sentence = f"{over:.1%} of {texts} are over {limit} tokens of {name} and would be cut"
            evidence = {"model": name, "side": side, "share": over, "tokens": lengths}
            remedy = f"raise {flag} (99 % have at most {lengths['p99']}), or --overlong drop"
            found.append(Finding("truncated", "fault" if over > 0.3 else "warning", sentence, (), 0, evidence, remedy))
    return found


def private(signals: Signals, secrets: Iterable[str]) -> list[Finding]:
    """Personal data and secrets, by kind."""
    found = []
    for kind, places in sorted(signals.private.items()):
        secret = kind in set(secrets)
        says = f"hold what looks like {'an' if kind[0] in 'aeI' else 'a'} {kind}"
        remedy = "--drop-private" + ("; and make the secret invalid" if secret else "")
        severity: Severity = "fault" if secret else "warning"
        code = "secret" if secret else "personal-data"
        rows = signals.row[np.array(places)]
        found.append(_finding(code, severity, _rows(len(places), says), rows, {"kind": kind}, remedy))
    return found


def markup(signals: Signals) -> list[Finding]:
    """Tokens of a chat template inside texts: a policy would learn to write them, a template would add them twice."""
    if not signals.markup:
        return []
    places = np.array(sorted({place for each in signals.markup.values() for place in each}))
    most = sorted(signals.markup, key=lambda sign: -len(signals.markup[sign]))
    signs = ", ".join(most[:3]) + (" and others" if len(most) > 3 else "")
    says = f"have markup of a chat template inside a text ({signs})"
    remedy = "take it out of the source: it would be learned as text; give conversations as lists of messages"
    evidence = {"signs": {sign: len(signals.markup[sign]) for sign in most[:20]}}
    return [_of_places(signals, "chat-markup", places, 0.01, says, remedy, evidence)]


def languages(mix: Mapping[str, float], differing: Sequence[int], sampled: int) -> list[Finding]:
    """More than one language, and answers in another one than their prompt."""
    found = []
    others = {code: share for code, share in mix.items() if share >= 0.02}
    if len(others) > 1:
        parts = ", ".join(f"{code} {share:.0%}" for code, share in others.items())
        found.append(Finding("languages", "note", f"Several languages: {parts}", (), 0, dict(others)))
    if len(differing) > max(5, sampled // 50):
        sentence = f"{len(differing) / sampled:.0%} of sampled answers are in another language than their prompt"
        remedy = "read these rows: dpo data show SOURCE"
        found.append(_finding("other-language", "warning", sentence, differing, {"sampled": sampled}, remedy))
    return found


def licence(name: str | None) -> Finding:
    """What we know of the licence."""
    if name is None:
        return Finding("licence", "note", "The licence is not known", remedy="look it up before you publish a model")
    if name == "llama3":
        says = "The licence is Llama 3's: publish with “Built with Meta Llama 3”, and name models Llama-3-..."
        return Finding("licence", "note", says, evidence={"licence": name})
    spelled = {"mit": "MIT"}.get(name, name.capitalize())
    sentence = f"The licence is {spelled}, by the dataset's card"
    return Finding("licence", "note", sentence, evidence={"licence": name})


def _finding(
    code: str, severity: Severity, sentence: str, rows: Iterable[int], evidence: Mapping[str, Any], remedy: str
) -> Finding:
    numbers = [int(row) for row in rows]
    return Finding(code, severity, sentence, ranges(numbers), len(numbers), evidence, remedy)


def _of_places(
    signals: Signals, code: str, places: Ints, most: float, says: str, remedy: str,
    evidence: Mapping[str, Any] | None = None,
) -> Finding:  # fmt: skip
    """A finding on pairs, a warning where they are more than the share `most` of all, else a note."""
    count = len(signals.row)
    severity: Severity = "warning" if len(places) > most * count else "note"
    return _finding(code, severity, _rows(len(places), says), signals.row[places], evidence or {"of": count}, remedy)


def _repeated(numbers: Ints) -> Ints:
    """Places whose number occurred before."""
    _, first = np.unique(numbers, return_index=True)
    return np.setdiff1d(np.arange(len(numbers)), first)


def _rows(count: int, says: str) -> str:
    """A sentence on so many rows; `says` begins with its verb in the plural: "have a blank prompt"."""
    verb, _, rest = says.partition(" ")
    if count == 1:
        verb = _SINGULAR.get(verb, verb + "s")
    return f"{counted(count, 'row')} {verb} {rest}"


_SINGULAR = {"have": "has", "gave": "gave"}

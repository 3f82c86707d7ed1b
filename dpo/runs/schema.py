"""What the JSON files of a run may say: one table for each kind of file.

A record may be damaged, made by another version, or by somebody else's hand.  Each value is held
against the table; what does not fit is left out and named, so that every reader below may rely on
types and sizes, and one wrong value hides nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dpo.families import facts_of
from dpo.runs.files import one_line, printable, whole_characters
from dpo.severity import SEVERITIES, severity_of

MOST_STEP = 2**53
"""The largest whole number that a float64 holds exactly; columns are float64."""
STATES = ("running", "finished", "stopped", "failed", "interrupted")
_MOST_PID = 2**31 - 1
_MOST_VALUES = 5_000  # of a part that no table describes
_DEEPEST = 8
_MOST_TEXT = 100_000
_QUOTED = 40


class Misfit(ValueError):
    """Raised by a rule for a value that it does not take; says what would be taken ("a number")."""


FieldRule = Callable[[Any], Any]


def number(low: float = -1e300, high: float = 1e300) -> FieldRule:
    """A finite number from `low` to `high`."""

    def fit(value: Any) -> float:
        # Compared before anything is computed: a whole number may be too large for a float.
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise Misfit("a number" if (low, high) == (-1e300, 1e300) else f"a number from {low:g} to {high:g}")
        return value

    return fit


def whole(low: int = 0, high: int = MOST_STEP) -> FieldRule:
    """A whole number from `low` to `high`."""

    def fit(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Misfit("a whole number" if high == MOST_STEP else f"a whole number from {low} to {high}")
        return value

    return fit


def switch(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise Misfit("true or false")
    return value


def text(most: int = 4_096) -> FieldRule:
    """Printable text of at most `most` letters."""

    def fit(value: Any) -> str:
        if not isinstance(value, str) or len(value) > most:
            raise Misfit(f"text of at most {most:,} letters")
        return printable(value)

    return fit


def title(value: Any) -> str:
    """A name on one line."""
    if not isinstance(value, str) or not 0 < len(value) <= 200 or not one_line(value):
        raise Misfit("a name of at most 200 letters")
    return one_line(value)


def answer(value: Any) -> str:
    """A prompt or an answer: any text, but no half characters."""
    if not isinstance(value, str) or len(value) > _MOST_TEXT:
        raise Misfit(f"text of at most {_MOST_TEXT:,} letters")
    return whole_characters(value)


def word(*known: str) -> FieldRule:
    """One of some words."""

    def fit(value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            raise Misfit("one of " + ", ".join(known))
        return value

    return fit


def family(value: Any) -> str:
    """A family's key.

    Records of earlier versions name a family by its best known architecture (`t5`, `gpt2`): here alone
    they become keys.
    """
    facts = facts_of(value)
    return text(40)(value) if facts is None else facts.key


def maybe(rule: FieldRule) -> FieldRule:
    """The same, or null."""
    return lambda value: None if value is None else rule(value)


def texts(value: Any, most: int = 64) -> list[str]:
    """One text or a list of at most `most` texts, as a list."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not 0 < len(items) <= most:
        raise Misfit("a text or a list of texts")
    return [text()(item) for item in items]


def plain(value: Any) -> Any:
    """Any JSON value that is neither deep nor long; numbers that are not finite become null."""
    return _plain(value, _DEEPEST, [_MOST_VALUES])


def _plain(value: Any, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if depth < 0 or left[0] < 0:
        raise Misfit(f"at most {_DEEPEST} levels deep with {_MOST_VALUES:,} values")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text(_MOST_TEXT)(value)
    if isinstance(value, int | float):
        return number()(value) if isinstance(value, int) or math.isfinite(value) else None
    if isinstance(value, list):
        return [_plain(item, depth - 1, left) for item in value]
    return {one_line(name): _plain(item, depth - 1, left) for name, item in value.items()}


@dataclass(frozen=True)
class ObjectRule:
    """An object: the rules of its known fields, that of the others, and how many fields it may have."""

    fields: Mapping[str, FieldRule | ObjectRule]
    others: FieldRule = plain
    most: int = 1_000
    needed: tuple[str, ...] = ()

    def fit(self, value: Any, where: str, problems: list[str]) -> dict[str, Any] | None:
        """The fields that fit, None where this is no such object; each misfit adds a line to `problems`."""
        if not isinstance(value, dict):
            problems.append(f"{where} is {_quoted(value)}, not an object")
            return None
        made: dict[str, Any] = {}
        for place, (key, item) in enumerate(value.items()):
            name = one_line(key)
            path = f"{where}.{name[:_QUOTED]}" if where else name[:_QUOTED]
            if place >= self.most:
                problems.append(f"{where} has {len(value):,} fields, of which {self.most:,} are read")
                break
            rule = self.fields.get(name, self.others)
            if isinstance(rule, ObjectRule):
                fitted = None if item is None else rule.fit(item, path, problems)
                if fitted is not None or item is None:
                    made[name] = fitted
                continue
            try:
                made[name] = rule(item)
            except Misfit as misfit:
                problems.append(f"{path} is {_quoted(item)}, not {misfit}")
        missing = [name for name in self.needed if name not in made]
        if missing:
            problems.append(f"{where} is left out, it has no {' and no '.join(missing)}")
            return None
        return made


_ABOVE_0 = number(1e-12, 1e12)
_CONFIG = ObjectRule({
    "model": text(), "dataset": maybe(text()), "output_dir": maybe(text()), "resume": maybe(text()),
    "split": maybe(text()), "prompt_column": maybe(text()), "chosen_column": maybe(text()),
    "rejected_column": maybe(text()), "layout": maybe(text()), "overlong": text(), "swap": switch, "lora": switch,
    "beta": _ABOVE_0, "learning_rate": maybe(number(0, 1e6)), "max_grad_norm": maybe(number(0, 1e12)),
    "kl_budget": maybe(number(0, 1e12)), "label_smoothing": maybe(number(0, 1)), "discopop_tau": maybe(_ABOVE_0),
    "eval_fraction": maybe(number(0, 1)), "half": maybe(whole(1, 2)),
    "epochs": maybe(number(0, 1e9)), "warmup": maybe(number(0, 1e9)),
    "batch_size": maybe(whole()), "gradient_accumulation": maybe(whole()), "max_steps": maybe(whole(-1)),
    "logging_steps": maybe(number(0, 1e12)), "num_samples": maybe(whole()), "max_prompt_length": maybe(whole()),
    "max_completion_length": maybe(whole()), "seed": maybe(whole(-MOST_STEP)), "loss_type": texts,
    "lora_rank": maybe(whole()),
})  # fmt: skip
_RUN = ObjectRule({
    "format": whole(), "created": text(64), "updated": text(64), "name": title, "kind": text(20),
    "processes": maybe(whole(1, _MOST_PID)),
    "family": maybe(family), "state": word(*STATES), "reason": maybe(text()), "pid": maybe(whole(1, _MOST_PID)),
    "born": maybe(number(0, 1e12)), "boot": maybe(number(0, 1e12)), "host": maybe(text(255)), "foreign": switch,
    "imported_from": text(), "config": _CONFIG,
    "progress": ObjectRule({
        "step": whole(), "max_steps": maybe(whole()), "examples": maybe(whole()), "seconds": maybe(number(0, 1e12)),
    }),
    "step_zero": ObjectRule(
        {"loss": number(), "expected": number(), "passed": switch, "max_logp_gap": maybe(number())},
        needed=("loss", "expected", "passed"),
    ),
    "dataset": ObjectRule({
        "source": text(), "split_name": maybe(text()), "layout": maybe(text()), "fingerprint": maybe(text(256)),
        "rows": maybe(whole()), "pairs": maybe(whole()), "prompts": maybe(whole()), "train": whole(),
        "held_out": whole(),
    }),
    "policy": ObjectRule({
        "model": text(), "architecture": text(200), "parameters": whole(), "trainable": whole(), "vocabulary": whole(),
        "added_tokens": whole(), "precision": text(40),
    }),
    "reference": ObjectRule({"kind": text(), "identity": text()}),
    "best": ObjectRule({"step": whole(), "value": maybe(number()), "by": maybe(text(200))}),
    "versions": ObjectRule({}, others=text(200)),
    "training_seconds": number(0, 1e12), "energy_wh": number(0, 1e12),
})  # fmt: skip
_SAMPLE = ObjectRule(
    {"step": whole(), "index": whole(), "prompt": answer, "policy": answer, "reference": maybe(answer)},
    others=lambda value: None, needed=("step", "prompt", "policy"),
)  # fmt: skip


def _severity(value: Any) -> str:
    try:
        return severity_of(value)
    except (TypeError, ValueError) as error:
        raise Misfit("one of " + ", ".join(SEVERITIES)) from error


_FINDING = ObjectRule({
    "code": text(200), "severity": _severity,
    "evidence": ObjectRule({"accuracy": number(0, 1), "pairs": maybe(whole()), "rule": text(200)}),
    "remedy": maybe(text()),
})  # fmt: skip
_PEAK = ObjectRule({"peak": number(0), "low": maybe(number(0)), "high": maybe(number(0))}, needed=("peak",))
_POINT = ObjectRule({"policy": text(), "distance": number(0)}, needed=("policy", "distance"))
_FRONTIER = ObjectRule({"judge": text(), "hump": _PEAK, "past": texts}, needed=("judge", "hump", "past"))


def fit_run(read: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What a `run.json` says as far as it fits, and a line for each value that was left out.

    A state that is none of `STATES` becomes "unknown": nobody can say how such a run ended.
    """
    problems: list[str] = []
    info = _RUN.fit(read, "", problems) or {}
    if "state" in read and "state" not in info:
        info["state"] = "unknown"
    return info, problems


def fit_config(read: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that fit; of another tool's own ones nobody needs to hear which do not."""
    return _CONFIG.fit(dict(read), "config", []) or {}


def fit_sample(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """A row of `samples.jsonl`; None if it does not fit."""
    problems: list[str] = []
    made = _SAMPLE.fit(row, "row", problems)
    return None if problems else made


def fit_audit(read: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What an `audit.json` says as far as it fits, and a line for each value that was left out."""
    problems: list[str] = []
    made = {name: value for name, value in read.items() if name != "findings"}
    findings = read.get("findings", [])
    if not isinstance(findings, list):
        problems.append(f"findings is {_quoted(findings)}, not a list")
        findings = []
    fitted = (_FINDING.fit(item, f"findings[{place}]", problems) for place, item in enumerate(findings[:1_000]))
    return made | {"findings": [finding for finding in fitted if finding is not None]}, problems


def fit_frontiers(read: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The frontiers of an `eval.json` on which some policy is past the hump, with the distance of every policy.

    Nobody needs to hear which others do not fit.
    """
    rows = read.get("frontier")
    made = []
    for row in rows[:_MOST_VALUES] if isinstance(rows, list) else ():
        fitted = _FRONTIER.fit(row, "frontier", [])
        points = row.get("points") if fitted is not None and fitted["hump"] is not None else None
        if isinstance(points, list):
            known = (_POINT.fit(point, "point", []) for point in points[:_MOST_VALUES])
            made.append(
                (fitted or {}) | {"distances": {one["policy"]: one["distance"] for one in known if one is not None}}
            )
    return made


def left_out(name: str, problems: Iterable[str]) -> str | None:
    """One line on what was left out of a file; None if nothing was."""
    found = list(problems)
    if not found:
        return None
    values = "1 value was" if len(found) == 1 else f"{len(found):,} values were"
    more = f"; and {len(found) - 3:,} more" if len(found) > 3 else ""
    return f"{values} left out of {name}: {'; '.join(found[:3])}{more}"


def _quoted(value: Any) -> str:
    """A value for a sentence, cut; a number may have thousands of digits and a list millions of items."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        cut = value if len(value) <= _QUOTED else value[: _QUOTED - 1] + "…"
        return f'"{one_line(cut)}"'
    if isinstance(value, int) and abs(value) > 10**15:
        return "a number of many digits"
    return str(value)

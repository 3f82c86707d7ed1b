"""Verdicts that were given elsewhere: battles and AlpacaEval annotations (no torch here)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from dpo.errors import DataError
from dpo.evaluation.comparison.judges import JudgeSpec, Winner
from dpo.evaluation.comparison.plan import Plan
from dpo.evaluation.comparison.rows import Row, key_of
from dpo.evaluation.formats.source import slug
from dpo.runs.files import reason

OutsideKind = Literal["battles", "alpaca-eval"]
_MOST_BYTES = 256 * 1024 * 1024
_WINNERS: Mapping[str, Winner] = {
    "model_a": "a", "model_b": "b", "tie": "tie", "both_bad": "bad", "tie (bothbad)": "bad", "bothbad": "bad",
    "leftvote": "a", "rightvote": "b", "tievote": "tie", "bothbad_vote": "bad",
}  # fmt: skip


@dataclass(frozen=True)
class OutsideVerdict:
    """Who won between two models' answers to a prompt, by somebody else; `temperature` None where it is not said."""

    prompt: str
    a: str
    b: str
    winner: Winner
    temperature: float | None = None


def outside_rows(spec: JudgeSpec, plan: Plan) -> list[Row]:
    """The verdicts of a file on the plan's prompts between its policies, as rows.

    A prompt is found by its text, or by its key in an evaluation's own exports; a model by a policy's name or by that
    as a file's name.  Without a temperature a verdict counts at the plan's first.

    Raises:
        DataError: there is no such file, or it says nothing about these policies and prompts.
    """
    kind = spec.name.partition(":")[0]
    given = read_outside("battles" if kind == "battles" else "alpaca-eval", str(spec.path))
    prompts = {known: prompt for prompt in plan.prompts for known in (prompt["prompt"], prompt["key"])}
    names = {known: name for name in plan.policies for known in (name, slug(name))}
    first = float(plan.config.temperatures[0])
    rows = []
    for number, verdict in enumerate(given):
        prompt, pair = prompts.get(verdict.prompt), (names.get(verdict.a), names.get(verdict.b))
        for policy, against in plan.comparisons:
            if prompt is None or {policy, against} != set(pair):
                continue
            straight = pair[0] == policy
            hashes = plan.policies[policy], plan.policies[against]
            rows.append(
                {
                    "key": key_of(spec.identity, number, asdict(verdict), policy, against, *hashes),
                    "prompt": prompt["key"], "prompt_hash": prompt["hash"], "policy_a": policy, "hash_a": hashes[0],
                    "policy_b": against, "hash_b": hashes[1], "sample": 0, "seed": None,
                    "temperature": first if verdict.temperature is None else verdict.temperature,
                    "order": "ab" if straight else "ba", "judge": spec.name, "identity": spec.identity,
                    "verdict": verdict.winner if straight else _OTHER.get(verdict.winner, verdict.winner),
                    "scores": None, "raw": None, "cost": None, "error": None, "cached": False, "vote": str(number),
                }
            )  # fmt: skip
    if not rows:
        models = ", ".join(sorted({name for verdict in given for name in (verdict.a, verdict.b)})[:4])
        raise DataError(
            f"{spec.path} has no verdict on these prompts between {' and '.join(plan.comparisons[0])}: its models are "
            f"{models}"
        )
    return rows


_OTHER: Mapping[Winner, Winner] = {"a": "b", "b": "a"}


def read_outside(kind: OutsideKind, path: str | Path) -> list[OutsideVerdict]:
    """The verdicts in a file: battles as JSON lines (or a list), AlpacaEval annotations as a list.

    Of battles, a row's prompt is `prompt`, else `question_id`.

    Raises:
        DataError: there is no such file, or it holds nothing of the kind.
    """
    file = Path(path)
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise DataError(f"{file} is larger than {_MOST_BYTES >> 20} MiB: give the verdicts on these prompts alone")
        text = file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read ({reason(error)}): give a file of verdicts") from error
    rows = []
    for number, row in enumerate(_rows(text, file)):
        made = (_battle if kind == "battles" else _annotation)(row)
        if isinstance(made, str):
            raise DataError(f"{file}, row {number + 1}: {made}")
        if made is not None:
            rows.append(made)
    if not rows:
        raise DataError(f"{file} holds no verdict: give {_WANTED[kind]}")
    return rows


_WANTED: Mapping[OutsideKind, str] = {
    "battles": "rows with model_a, model_b and winner",
    "alpaca-eval": "annotations with instruction, generator_1, generator_2 and preference",
}


def _rows(text: str, file: Path) -> list[Any]:
    try:
        if text.lstrip().startswith("["):
            content = json.loads(text)
            return content if isinstance(content, list) else []
        # Not splitlines: within a text, U+2028 and the like end no line of JSON lines.
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is not JSON ({str(error)[:100]}): give JSON lines or a list") from error


def _battle(row: Any) -> OutsideVerdict | str | None:
    if not isinstance(row, dict):
        return f"it is no object: give {_WANTED['battles']}"
    winner, names = row.get("winner", row.get("type")), (row.get("model_a"), row.get("model_b"))
    prompt = row.get("prompt", row.get("question_id"))
    if not all(isinstance(value, str) for value in (*names, prompt)):
        return "model_a, model_b and prompt (or question_id) must be text"
    if not isinstance(winner, str) or winner not in _WINNERS:
        return f"winner is {winner!r}: it must be model_a, model_b, tie or both_bad"
    given = row.get("temperature")
    number = isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)
    temperature = float(str(given)) if number else None
    return OutsideVerdict(str(prompt), str(names[0]), str(names[1]), _WINNERS[winner], temperature)


def _annotation(row: Any) -> OutsideVerdict | str | None:
    """`a` is the second output, the model that AlpacaEval judges; 0 is a tie there, as 1.5 is."""
    if not isinstance(row, dict):
        return f"it is no object: give {_WANTED['alpaca-eval']}"
    texts = [row.get(name) for name in ("instruction", "generator_2", "generator_1")]
    if not all(isinstance(value, str) for value in texts):
        return "instruction, generator_1 and generator_2 must be text"
    preference = row.get("preference")
    if preference is None or (isinstance(preference, float) and math.isnan(preference)):
        return None  # the judge gave none
    if isinstance(preference, bool) or not isinstance(preference, int | float) or not 0 <= preference <= 2:
        return f"preference is {preference!r}: it must be from 1 (the first wins) to 2 (the second wins)"
    winner: Winner = "tie" if preference in (0, 1.5) else "a" if preference > 1.5 else "b"
    return OutsideVerdict(str(texts[0]), str(texts[1]), str(texts[2]), winner)

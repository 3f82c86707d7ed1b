"""Evaluations with the tiny run of `tests/training/conftest.py`, and of rows written by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dpo.evaluation.comparison.measures import measure
from dpo.evaluation.comparison.plan import EvaluationConfig
from dpo.evaluation.comparison.result import result
from dpo.evaluation.comparison.rows import RowStore, answer_key, verdict_key

PROMPTS = 4
SAMPLING = {"top_p": 0.9, "top_k": 0, "max_new_tokens": 8}


def config_of(home: Path, target: Path, **settings: Any) -> EvaluationConfig:
    run = str(home / "run")
    given = {"judges": [f"reward:{run}"], "prompts": PROMPTS, "max_new_tokens": 6, "batch_size": 3, "device": "cpu"}
    return EvaluationConfig([run], output_dir=str(target), votes=str(target / "votes.sqlite"), **(given | settings))


def by_hand(path: Path, worths: list[list[str]], swapped: bool = False, votes: Sequence[str] = ()) -> dict[str, Any]:
    """The result of rows written by hand: one list of verdicts (samples) a prompt, and a vote on each of the first."""
    sides = ("base", "tuned") if swapped else ("tuned", "base")
    hashes = {"tuned": "T", "base": "B"}
    judge = {"name": "longer", "kind": "rule", "says": "x", "identity": "J", "orders": [""]}
    prompts = [
        {"kind": "prompt", "key": f"p{n}", "hash": f"h{n}", "prompt": "?", "messages": None, "pairs": [],
         "slices": ["short prompt" if n % 2 else "long prompt"]}
        for n in range(len(worths))
    ]  # fmt: skip
    answers, verdicts = [], []
    other = {"a": "b", "b": "a"}
    for prompt, samples in zip(prompts, worths, strict=True):
        for sample, word in enumerate(samples):
            pair = []
            for name in sides:
                text = "x" * (3 + sample) if name == "tuned" else "yy z"
                key = answer_key(hashes[name], prompt["hash"], 0.7, sample, SAMPLING)
                pair.append({"kind": "answer", "key": key, "text": text, "measures": measure(text, 4, "eos")})
            answers += pair
            shown = other.get(word, word) if swapped else word
            verdicts.append({"key": verdict_key("J", *pair, ""), "verdict": shown, "scores": None, "error": None})
    judges = [judge]
    if votes:
        judges.append({"name": "votes", "kind": "people", "says": "y", "identity": "votes", "orders": [""]})
    for prompt, word in zip(prompts, votes, strict=False):
        verdicts.append(
            {"key": f"vote {prompt['key']}", "vote": "1", "identity": "votes", "prompt_hash": prompt["hash"],
             "policy_a": sides[0], "policy_b": sides[1], "hash_a": hashes[sides[0]], "hash_b": hashes[sides[1]],
             "temperature": 0.7, "verdict": word, "error": None}
        )  # fmt: skip
    plan = {
        "kind": "plan", "key": str(swapped), "policies": hashes, "comparisons": [list(sides)], "judges": judges,
        "tuned": {}, "temperatures": [0.7], "samples": max(map(len, worths)), "seed": 0, "sampling": SAMPLING,
        "data": {"shortcut": None}, "prompts": [prompt["key"] for prompt in prompts], "margin": 0.05,
    }  # fmt: skip
    store = RowStore(path)
    with store.writing():
        store.add(*prompts, *answers, plan)
        store.add_verdicts(*verdicts)
    return result(RowStore(path))


def _models(count: int) -> list[dict[str, Any]]:
    return [
        {"name": f"model {place}", "kind": "model", "says": "a model", "identity": f"M{place}", "orders": [""]}
        for place in range(count)
    ]


def stored(
    path: Path, answers: dict[str, list[str | None]], pairs: Sequence[dict[str, str]] = (), samples: int = 1,
    until_clear: bool = False, models: Sequence[Callable[[str, str], str]] = (),
) -> dict[str, Any]:  # fmt: skip
    """The result of answers written by hand: `answers[policy]` by prompt (and sample within it), the first against the
    second, judged by the rule "longer" and by `models`, which say who won of two texts; every prompt has the same
    held-out pairs."""
    names = list(answers)
    count = len(answers[names[0]]) // samples
    prompts = [
        {"kind": "prompt", "key": f"p{n}", "hash": f"h{n}", "prompt": f"Question {n}?", "messages": None,
         "pairs": list(pairs), "slices": ["short prompt"]}
        for n in range(count)
    ]  # fmt: skip
    rows: dict[tuple[str, int, int], dict[str, Any]] = {}
    for name, texts in answers.items():
        for place, text in enumerate(texts):
            n, sample = divmod(place, samples)
            key = answer_key(name.upper(), f"h{n}", 0.7, sample, SAMPLING)
            rows[name, n, sample] = {
                "kind": "answer", "key": key, "prompt": f"p{n}", "prompt_hash": f"h{n}", "policy": name,
                "policy_hash": name.upper(), "temperature": 0.7, "seed": sample, "sample": sample, "text": text,
                "tokens": None if text is None else len(text.split()), "ended": "eos", "seconds": 0.1,
                "measures": None if text is None else measure(text, len(text.split()), "eos"),
            }  # fmt: skip
    judge = {"name": "longer", "kind": "rule", "says": "the longer answer", "identity": "J", "orders": [""]}
    verdicts = []
    for n in range(count):
        for sample in range(samples):
            a, b = (rows[name, n, sample] for name in names)
            if a["text"] is None or b["text"] is None:
                continue
            gap = len(a["text"]) - len(b["text"])
            verdicts.append(
                {"key": verdict_key("J", a, b, ""), "verdict": "tie" if not gap else "a" if gap > 0 else "b",
                 "scores": [len(a["text"]), len(b["text"])], "error": None, "identity": "J", "raw": None, "order": ""}
            )  # fmt: skip
            verdicts += [
                {"key": verdict_key(f"M{place}", a, b, ""), "verdict": model(a["text"], b["text"]), "scores": None,
                 "error": None, "identity": f"M{place}", "raw": None, "order": ""}
                for place, model in enumerate(models)
            ]  # fmt: skip
    plan = {
        "kind": "plan", "key": "plan", "policies": {name: name.upper() for name in names}, "comparisons": [names],
        "judges": [judge, *_models(len(models))], "tuned": {}, "temperatures": [0.7], "samples": samples, "seed": 0,
        "sampling": SAMPLING,
        "data": {"shortcut": None, "source": "pairs.jsonl", "fingerprint": "f", "fraction": 0.05},
        "prompts": [prompt["key"] for prompt in prompts], "margin": 0.05,
    }  # fmt: skip
    if until_clear:
        plan["until_clear"] = "longer"
    store = RowStore(path)
    with store.writing():
        store.add(*prompts, *rows.values(), plan)
        store.add_verdicts(*verdicts)
        made = result(store)
        store.write_result(made)
    return made

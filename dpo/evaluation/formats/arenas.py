"""Files of the tools that compare in pairs: AlpacaEval, Arena-Hard, the arenas, LLM Comparator (no torch here)."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from dpo.evaluation.comparison.measures import MEASURES
from dpo.evaluation.comparison.rows import Row
from dpo.evaluation.comparison.table import WORTH
from dpo.evaluation.formats.source import (
    Exported,
    Files,
    JudgedAnswers,
    JudgedComparison,
    document,
    lines,
    markdown_counts,
    slug,
)

# Arena-Hard's labels, of the answer shown first (A).
_ARENA_HARD = {"a": "A>B", "b": "B>A", "tie": "A=B", "bad": "A=B"}
_BATTLES = {"a": "model_a", "b": "model_b", "tie": "tie", "bad": "both_bad"}


def alpaca_eval(source: Exported) -> Files:
    """`model_outputs` of every policy and `annotations` of every judge, the first sample of each prompt.

    A preference is 1 where the baseline wins, 2 where the policy does, 1.5 for a tie and what lies between for
    two orders that disagree; null where no verdict was valid.  The baseline is `output_1`.
    """
    files: Files = {}
    for policy in source.plan["policies"]:
        for t in source.plan["temperatures"]:
            rows = [_output(source, policy, prompt, row) for prompt, row in source.first_answers(policy, t)]
            files[f"{slug(policy)}-t{t:g}/model_outputs.json"] = document(rows)
    for unit in source.units():
        files[f"annotations/{unit.name}.json"] = document(
            [_annotation(source, unit, duel) for duel in source.duels(unit) if duel.sample == 0]
        )
    return files


def _output(source: Exported, policy: str, prompt: Row, row: Row) -> Row:
    return {
        "instruction": prompt["prompt"], "output": row["text"], "generator": policy,
        "dataset": str(source.plan["data"]["source"]), "datasplit": "eval",
    }  # fmt: skip


def _annotation(source: Exported, unit: JudgedComparison, duel: JudgedAnswers) -> Row:
    worth = duel.worth()
    return {
        "instruction": duel.prompt["prompt"], "output_1": duel.b["text"], "generator_1": unit.against,
        "output_2": duel.a["text"], "generator_2": unit.policy, "dataset": str(source.plan["data"]["source"]),
        "datasplit": "eval", "annotator": unit.judge["name"], "preference": None if worth is None else 1 + worth,
    }  # fmt: skip


def arena_hard(source: Exported) -> Files:
    """`question.jsonl`, `model_answer` and `model_judgment`, a folder for each temperature, first samples.

    In the first game of a prompt the baseline stands first (A), in the second the policy; a judge to whom the
    order cannot matter says the same in both.
    """
    files: Files = {}
    for t in source.plan["temperatures"]:
        folder = f"t{t:g}"
        files[f"{folder}/question.jsonl"] = lines(
            {"uid": p["key"], "category": "held out", "subcategory": p["slices"][0], "prompt": p["prompt"]}
            for p in source.table.prompts
        )
        for policy in source.plan["policies"]:
            files[f"{folder}/model_answer/{slug(policy)}.jsonl"] = lines(
                _arena_answer(source, policy, prompt, row) for prompt, row in source.first_answers(policy, t)
            )
    for unit in source.units():
        name = f"t{unit.temperature:g}/model_judgment/{slug(unit.judge['name'])}/{slug(unit.policy)}.jsonl"
        files[name] = files.get(name, "") + lines(
            _judgment(unit, duel) for duel in source.duels(unit) if duel.sample == 0
        )
    return files


def _arena_answer(source: Exported, policy: str, prompt: Row, row: Row) -> Row:
    messages = prompt["messages"] or [{"role": "user", "content": prompt["prompt"]}]
    return {
        "uid": prompt["key"], "ans_id": row["key"], "model": policy,
        "messages": [*messages, {"role": "assistant", "content": {"answer": row["text"]}}], "tstamp": source.stamp,
        "metadata": {"token_len": row["tokens"]} | markdown_counts(row["text"]),
    }  # fmt: skip


def _judgment(unit: JudgedComparison, duel: JudgedAnswers) -> Row:
    games = []
    for order in ("ba", "ab"):  # who stands first: the baseline, then the policy
        row = duel.verdicts.get(order, duel.verdicts.get(""))
        score = None if row is None else _ARENA_HARD.get(_seen(row["verdict"], order))
        games.append({"score": score, "judgment": row and row["raw"], "prompt": None})
    return {
        "uid": duel.prompt["key"], "category": "held out", "judge": unit.judge["name"], "model": unit.policy,
        "baseline": unit.against, "games": games,
    }  # fmt: skip


def battles(source: Exported) -> Files:
    """`battles.jsonl` in the arenas' columns, a row for each verdict: every sample, both orders, and people's votes.

    `model_a` is what the judge saw first; invalid verdicts are left out.
    """
    rows = [row for unit in source.units() for duel in source.duels(unit) for row in _battles(unit, duel)]
    return {"battles.jsonl": lines([*rows, *map(_vote, source.votes())])}


def _battles(unit: JudgedComparison, duel: JudgedAnswers) -> Iterator[Row]:
    for order, verdict in duel.verdicts.items():
        if verdict["verdict"] not in WORTH:
            continue
        first, second = (duel.a, duel.b) if order != "ba" else (duel.b, duel.a)
        names = (unit.policy, unit.against) if order != "ba" else (unit.against, unit.policy)
        won = _seen(verdict["verdict"], order)
        style: dict[str, Any] = {}
        for side, row in (("a", first), ("b", second)):
            style[f"sum_assistant_{side}_tokens"] = row["tokens"]
            style |= {f"{name}_{side}": counts for name, counts in markdown_counts(row["text"]).items()}
        yield {
            "question_id": duel.prompt["key"], "model_a": names[0], "model_b": names[1], "winner": _BATTLES[won],
            "judge": unit.judge["name"], "judge_model": verdict.get("model"), "source": "dpo eval",
            "prompt": duel.prompt["prompt"], "temperature": unit.temperature, "sample": duel.sample,
            "turn": 1, "conv_metadata": style,
        }  # fmt: skip


def _seen(verdict: str, order: str) -> str:
    """A verdict where `a` is the policy, as one where `a` is what stood first."""
    return {"a": "b", "b": "a"}.get(verdict, verdict) if order == "ba" else verdict


def _vote(row: Row) -> Row:
    names = (row["policy_a"], row["policy_b"]) if row["order"] != "ba" else (row["policy_b"], row["policy_a"])
    return {
        "question_id": row["prompt"], "model_a": names[0], "model_b": names[1],
        "winner": _BATTLES[_seen(row["verdict"], row["order"])], "judge": row["judge"], "judge_model": None,
        "source": "dpo eval", "temperature": row["temperature"], "turn": 1,
    }  # fmt: skip


def llm_comparator(source: Exported) -> Files:
    """One JSON file for each comparison and temperature, with every judge as a rater; A is the policy.

    A score goes from -1.5 (B is much better) to 1.5; a verdict is 1, 0 or -1, an example's the mean of its raters.
    """
    files: Files = {}
    for policy, against in source.plan["comparisons"]:
        for t in source.plan["temperatures"]:
            units = [u for u in source.units() if (u.policy, u.against, u.temperature) == (policy, against, t)]
            name = f"{slug(policy)}-vs-{slug(against)}-t{t:g}.json"
            files[name] = document(_comparator(source, units, policy, against))
    return files


def _comparator(source: Exported, units: list[JudgedComparison], policy: str, against: str) -> Row:
    found: dict[tuple[str, int], list[tuple[JudgedComparison, JudgedAnswers]]] = {}
    for unit in units:
        for duel in source.duels(unit):
            found.setdefault((duel.prompt["key"], duel.sample), []).append((unit, duel))
    fields = [{"name": measure.label, "type": "per_model_number"} for measure in MEASURES.values()]
    return {
        "metadata": {"source_path": str(source.plan["data"]["source"]), "custom_fields_schema": fields},
        "models": [{"name": policy}, {"name": against}],
        "examples": [_example(judged) for judged in found.values()],
    }


def _example(judged: list[tuple[JudgedComparison, JudgedAnswers]]) -> Row:
    duel = judged[0][1]
    raters = [
        {
            "score": (WORTH[row["verdict"]] - 0.5) * 2, "is_flipped": order == "ba", "rationale": row["raw"] or "",
            "rating_label": unit.judge["name"],
        }
        for unit, one in judged for order, row in one.verdicts.items() if row["verdict"] in WORTH
    ]  # fmt: skip
    return {
        "input_text": duel.prompt["prompt"], "tags": list(duel.prompt["slices"]), "output_text_a": duel.a["text"],
        "output_text_b": duel.b["text"],
        "score": statistics.fmean(rater["score"] for rater in raters) if raters else None,
        "individual_rater_scores": raters,
        "custom_fields": {
            measure.label: [duel.a["measures"][name], duel.b["measures"][name]] for name, measure in MEASURES.items()
        },
    }  # fmt: skip

"""Files of the harnesses: lm-eval's samples and results, Every Eval Ever, RewardBench's pairs (no torch here)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from dpo.evaluation.comparison.measures import MEASURES
from dpo.evaluation.comparison.rows import Row
from dpo.evaluation.formats.source import Exported, Files, document, lines, slug

_DEPLOYED = {"deployment_type": "self_deployed", "model_availability": "open_weights"}
_TASK = "dpo_held_out"
_SCHEMA = "0.3.0"
_LOWER = {f"measure: {MEASURES[name].label}" for name in ("cut", "repeated_4grams")}


def lm_eval(source: Exported) -> Files:
    """`results_*.json` and `samples_*.jsonl` of each tuned policy, as lm-eval 0.4 writes them.

    The task is its held-out pairs as multiple choice of chosen (0) and rejected (1), scored by the policy's
    implicit reward: `acc` is what `dpo eval` calls accuracy, a tie counting a half.
    """
    files: Files = {}
    stamp = datetime.fromtimestamp(source.stamp, UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")
    for row in source.made["held_out"]:
        if row["accuracy"] is None:
            continue
        folder, rows = slug(row["policy"]), list(_samples(source, row["policy"]))
        files[f"{folder}/samples_{_TASK}_{stamp}.jsonl"] = lines(rows)
        files[f"{folder}/results_{stamp}.json"] = document(_results(source, row, rows))
    return files


def _samples(source: Exported, policy: str) -> Iterator[Row]:
    prompts = {prompt["key"]: prompt for prompt in source.table.prompts}
    scored = [row for rows in source.table.pairs(policy).values() for row in rows if "error" not in row]
    for number, row in enumerate(scored):
        prompt = prompts[row["prompt"]]
        pair = prompt["pairs"][row["place"]]
        doc = {"prompt": prompt["prompt"], "chosen": pair["chosen"], "rejected": pair["rejected"]}
        rewards = [[row["chosen_reward"], False], [row["rejected_reward"], False]]
        yield {
            "doc_id": number, "doc": doc, "target": "0",
            "arguments": [[doc["prompt"], doc["chosen"]], [doc["prompt"], doc["rejected"]]],
            "resps": [[reward] for reward in rewards], "filtered_resps": rewards, "filter": "none", "metrics": ["acc"],
            "doc_hash": _sha(json.dumps(doc, ensure_ascii=False)), "prompt_hash": _sha(doc["prompt"]),
            "target_hash": _sha("0"), "acc": row["right"],
        }  # fmt: skip


def _results(source: Exported, row: Row, samples: list[Row]) -> Row:
    error = row["accuracy"]["error"]
    of_policy = {"alias": _TASK, "acc,none": row["accuracy"]["value"]}
    of_policy["acc_stderr,none"] = "N/A" if error is None else error  # as lm-eval writes what it cannot tell
    return {
        "results": {_TASK: of_policy}, "group_subtasks": {_TASK: []},
        "configs": {_TASK: {"task": _TASK, "output_type": "multiple_choice", "num_fewshot": 0}},
        "versions": {_TASK: 1}, "n-shot": {_TASK: 0}, "higher_is_better": {_TASK: {"acc": True}},
        "n-samples": {_TASK: {"original": row["pairs"] + row["left_out"], "effective": len(samples)}},
        "config": {"model": "dpo", "model_args": row["policy"], "batch_size": None, "limit": None},
        "git_hash": None, "date": source.stamp, "model_source": "dpo", "model_name": row["policy"],
        "task_hashes": {_TASK: _sha("".join(sample["doc_hash"] for sample in samples))},
        "lm_eval_version": None, "dpo_version": source.version,
    }  # fmt: skip


def rewardbench(source: Exported) -> Files:
    """`pairs.jsonl` for `rewardbench --dataset pairs.jsonl --load_json`, and which reference each policy has.

    Give `--model` a policy and `--ref_model` its reference: another one gives other rewards.
    """
    rows = [
        {"prompt": prompt["prompt"], "chosen": pair["chosen"], "rejected": pair["rejected"], "subset": "held out",
         "id": f"{prompt['key']}-{place}"}
        for prompt in source.table.prompts for place, pair in enumerate(prompt["pairs"])
    ]  # fmt: skip
    references = {
        name: {"weights": content, "reference": reference, "beta": beta}
        for name, (content, reference, beta) in source.plan["tuned"].items()
    }
    return {"pairs.jsonl": lines(rows), "references.json": document(references)}


def every_eval_ever(source: Exported) -> Files:
    """One aggregate record for each policy by the schema of Every Eval Ever 0.3.0 (arXiv 2606.14516)."""
    files: Files = {}
    for policy, content in source.plan["policies"].items():
        results = [*_win_rates(source, policy), *_measures(source, policy), *_held_out(source, policy)]
        if results:
            files[f"{slug(policy)}.json"] = document(
                {
                    "schema_version": _SCHEMA,
                    "evaluation_id": f"dpo-eval/{slug(policy)}/{source.plan['key']}",
                    "evaluation_timestamp": str(source.stamp),
                    "retrieved_timestamp": str(source.stamp),
                    "source_metadata": {
                        "source_name": "dpo eval", "source_type": "evaluation_run",
                        "source_organization_name": "local", "evaluator_relationship": "first_party",
                    },
                    "eval_library": {"name": "dpo-workbench", "version": source.version},
                    "model_info": {
                        "name": policy, "id": policy, "additional_details": _DEPLOYED | {"weights": content},
                    },
                    "evaluation_results": results,
                }
            )  # fmt: skip
    return files


def _win_rates(source: Exported, policy: str) -> Iterator[Row]:
    for row in source.made["comparisons"]:
        if row["policy"] == policy and row["win_rate"] is not None:
            yield _result(
                source, f"win rate against {row['against']} by {row['judge']}", row["win_rate"], (0.0, 1.0),
                {"verdict": row["verdict"], "sentence": row["sentence"]}, row["temperature"],
            )  # fmt: skip


def _measures(source: Exported, policy: str) -> Iterator[Row]:
    for row in source.made["measures"]:
        if row["policy"] == policy:
            for name, measure in MEASURES.items():
                value = row["values"][name]["value"]
                if value is not None:
                    bounds = (0.0, 1.0) if measure.share else (None if measure.signed else 0.0, None)
                    yield _result(source, f"measure: {measure.label}", value, bounds, {}, row["temperature"])


def _held_out(source: Exported, policy: str) -> Iterator[Row]:
    for row in source.made["held_out"]:
        if row["policy"] == policy and row["accuracy"] is not None:
            details = {"reference": str(row["reference"]), "beta": str(row["beta"])}
            yield _result(source, "reward accuracy on held-out pairs", row["accuracy"], (0.0, 1.0), details, None)


def _result(
    source: Exported, name: str, estimate: Mapping[str, Any], bounds: tuple[float | None, float | None],
    details: Mapping[str, str], temperature: float | None,
) -> Row:  # fmt: skip
    uncertainty: Row = {"num_samples": int(estimate["n"])}
    if estimate["error"] is not None:
        uncertainty["standard_error"] = {"value": estimate["error"], "method": "over prompts"}
    if estimate["low"] is not None:
        uncertainty["confidence_interval"] = {
            "lower": estimate["low"], "upper": estimate["high"], "confidence_level": 0.95, "method": "over prompts",
        }  # fmt: skip
    made: Row = {
        "evaluation_name": name,
        "source_data": {
            "dataset_name": str(source.plan["data"]["source"]), "source_type": "other",
            "additional_details": {"fingerprint": str(source.plan["data"]["fingerprint"])},
        },
        "metric_config": {
            "evaluation_description": name, "lower_is_better": name in _LOWER, "score_type": "continuous",
            "min_score": bounds[0], "max_score": bounds[1],
        },
        "score_details": {"score": estimate["value"], "details": dict(details), "uncertainty": uncertainty},
    }  # fmt: skip
    if temperature is not None:
        sampling = source.plan["sampling"]
        made["generation_config"] = {
            "generation_args": {
                "temperature": temperature, "top_p": sampling["top_p"], "top_k": sampling["top_k"],
                "max_tokens": sampling["max_new_tokens"],
            }
        }  # fmt: skip
    return made


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

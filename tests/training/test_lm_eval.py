"""lm-eval drives the dashboard: one task of our own, both families, and its log-likelihoods are ours."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import torch
from lm_eval import utils
from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI
from serving import dashboard

from dpo.evaluation.formats.export import export
from dpo.generation.sampler import generate
from dpo.generation.settings import PLAIN
from dpo.policies.loading import Policy, load_policy
from dpo.policies.scoring import score

# What stands between question and answer where the policy was trained: the end of the encoder's text, or a line's end.
BETWEEN = {"t5": "</s>", "gpt2": "\n"}
QUESTIONS = {
    "Do you like tea?": ["I love tea! 😄", "As a digital assistant, I do not."],
    "Any fun plans\nfor the week?": ["Off to the lake {with} my dog", "No", "I'm unable to make plans."],
}


def task(family: str, rows: Path, cache: Path) -> dict[str, Any]:
    """A multiple-choice task over the questions, as a task's YAML file has it."""
    return {
        "task": f"tea_{family}", "dataset_path": "json", "test_split": "test", "output_type": "multiple_choice",
        "dataset_kwargs": {"data_files": {"test": str(rows)}, "cache_dir": str(cache)},
        "doc_to_text": "{{question}}", "doc_to_choice": "{{choices}}", "doc_to_target": 0,
        "target_delimiter": BETWEEN[family], "metric_list": [{"metric": "acc"}], "metadata": {"version": 1},
    }  # fmt: skip


def line_end(policy: Policy, question: str) -> float:
    """log p of the line's end that lm-eval counts to an answer and training to its prompt; none in an encoder."""
    if policy.family.has_encoder:
        return 0.0
    ids = policy.encode_prompt(question)
    with torch.no_grad():
        logits = policy.network(input_ids=torch.tensor([ids])).logits[0, -2]
    return float(logits.log_softmax(-1)[ids[-1]])


def whole(policy: Policy, text: str) -> float:
    """log p of a text after an end token, which lm-eval puts in front of texts that are scored as a whole."""
    ids = torch.tensor([policy.tokenizer(text, add_special_tokens=False)["input_ids"]])
    end = torch.tensor([[policy.eos_token_id]])
    with torch.no_grad():
        if policy.family.has_encoder:
            logits = policy.network(input_ids=end, labels=ids).logits
        else:
            logits = policy.network(input_ids=torch.cat([end, ids], 1)).logits[:, :-1]
    return float(logits.log_softmax(-1).gather(2, ids[:, :, None]).sum())


@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_log_likelihoods_of_a_task_are_ours(policy_dirs: dict[str, Path], tmp_path: Path, family: str) -> None:
    rows, name = tmp_path / "rows.jsonl", str(policy_dirs[family])
    rows.write_text("".join(json.dumps({"question": q, "choices": c}) + "\n" for q, c in QUESTIONS.items()))
    policy = load_policy(name, device="cpu")
    with dashboard(policy_dirs[family].parent, votes=tmp_path / "votes.sqlite") as address:
        model = LocalCompletionsAPI(
            model=name, base_url=f"{address}/v1/completions", tokenizer=name, max_length=128, batch_size=2
        )
        made = lm_eval.simple_evaluate(
            model, tasks=[task(family, rows, tmp_path / "cache")], log_samples=True, bootstrap_iters=0
        )
        [rolling] = model.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, ("I love tea!",), 0)])
        asked = ("Do you like tea?", {"until": ["\n"], "max_gen_toks": 5})
        [written] = model.generate_until([Instance("generate_until", {}, asked, 0)])
    samples = made["samples"][f"tea_{family}"]
    assert len(samples) == len(QUESTIONS)
    right = 0
    for sample in samples:
        question, choices = sample["doc"]["question"], sample["doc"]["choices"]
        ours = [
            line_end(policy, question) + sum(tokens[:-1])
            for tokens in score(policy, [question] * len(choices), choices)
        ]
        assert [value for value, _ in sample["filtered_resps"]] == pytest.approx(ours, abs=1e-4)
        right += ours[0] == max(ours)
    assert made["results"][f"tea_{family}"]["acc,none"] == pytest.approx(right / len(QUESTIONS))
    assert rolling == pytest.approx(whole(policy, "I love tea!"), abs=1e-4)
    [answer] = generate(policy, ["Do you like tea?"], replace(PLAIN, temperature=0, max_new_tokens=5, stop=("\n",)))
    assert written == answer.text


@pytest.mark.parametrize("alone", [False, True])
def test_exported_results_are_read_by_lm_eval_itself(evaluated: Path, tmp_path: Path, alone: bool) -> None:
    """Its own table of results, names of files and hashes; also of one pair, so that no error is known."""
    target = tmp_path / "e"
    shutil.copytree(evaluated, target)
    if alone:
        rows = (target / "rows.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        pairs = [row for row in rows if json.loads(row)["kind"] == "pair"]
        (target / "rows.jsonl").write_text("".join(r for r in rows if r not in pairs[1:]), encoding="utf-8")
    paths = [str(path) for path in export(target, ["lm-eval"])]
    [results], [samples] = utils.get_results_filenames(paths), utils.get_sample_results_filenames(paths)
    assert utils.get_file_task_name(Path(samples).name) == "dpo_held_out"
    content = json.loads(Path(results).read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in Path(samples).read_text(encoding="utf-8").splitlines()]
    found = content["results"]["dpo_held_out"]
    assert found["acc,none"] == pytest.approx(sum(row["acc"] for row in rows) / len(rows))
    assert (found["acc_stderr,none"] == "N/A") == alone
    assert [row["prompt_hash"] for row in rows] == [utils.hash_string(row["arguments"][0][0]) for row in rows]
    cells = [cell.strip() for cell in utils.make_table(content).splitlines()[2].split("|")]
    assert cells[1:7] == ["dpo_held_out", "1", "none", "0", "acc", "↑"]
    assert float(cells[7]) == pytest.approx(found["acc,none"], abs=1e-4) and (cells[9] == "N/A") == alone

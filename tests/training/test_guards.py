"""Training that watches itself: best policy, early stop, KL budget, and stops before damage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Command, run
from short_runs import BASE, FAMILIES, WITHOUT_KL, one_thread, rows_of
from tiny import save_tiny, tiny_weights
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from dpo.cli.main import main
from dpo.errors import MemoryRunOutError, NonFiniteError, PolicyError, RunError
from dpo.policies.divergence import divergence, estimates, sampled_answers
from dpo.policies.loading import load_policy, save_policy
from dpo.policies.scoring import score
from dpo.runs import open_run
from dpo.training.config import TrainConfig
from dpo.training.finite_checks import memory_explained
from dpo.training.recipes.dpo import train

__all__ = ["one_thread"]  # the fixture acts here too
PLAIN: dict[str, Any] = WITHOUT_KL | {"probes": 0}


@pytest.mark.parametrize("lora", [False, True])
def test_the_best_policy_is_kept_and_the_run_stops_early(
    lora: bool, policy_dirs: dict[str, Path], tmp_path: Path
) -> None:
    """The rate rises so far that the held-out loss gets worse; what is kept is from before."""
    settings = BASE | {
        "max_steps": 60, "eval_steps": 2, "save_steps": 2, "learning_rate": 1.0 if lora else 0.1, "warmup": 0.9,
        "keep_best": "loss", "early_stopping": 2, "lora": lora, "keep_checkpoints": 40, "kl_prompts": 0,
    }  # fmt: skip
    run = train(TrainConfig(model=str(policy_dirs["gpt2"]), output_dir=str(tmp_path / "run"), **settings))
    assert run.state == "finished"
    best = run.info["best"]
    losses = {row["step"]: row["eval_loss"] for row in rows_of(run.path) if "eval_loss" in row}
    assert best["value"] == pytest.approx(min(losses.values()))
    last = max(losses)
    assert best["step"] == last - 4 and last < 60
    assert "stopped early" in run.info["reason"]
    prompts, answers = ["Do you like tea?"], ["I do! 🍕"]
    kept = score(load_policy(str(run.path / "policy")), prompts, answers)[0]
    if best["step"] > 0:
        at_best = score(load_policy(str(run.path / f"checkpoint-{best['step']}")), prompts, answers)[0]
        assert kept == pytest.approx(at_best, abs=1e-5)
    final = score(load_policy(str(run.path / f"checkpoint-{last}")), prompts, answers)[0]
    assert sum(kept) != pytest.approx(sum(final), abs=1e-2)
    assert not (run.path / "best").exists()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_kl_budget_ends_a_run(family: str, policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    settings = BASE | {"max_steps": 40, "eval_steps": 2, "learning_rate": 1e-2, "kl_budget": 1.0, "kl_prompts": 3}
    run = train(TrainConfig(model=str(policy_dirs[family]), output_dir=str(tmp_path / "run"), **settings))
    measured = {row["step"]: row["eval_kl"] for row in rows_of(run.path) if "eval_kl" in row}
    assert measured[0] == pytest.approx(0, abs=1e-5)
    steps = sorted(measured)
    assert measured[steps[-1]] > 1.0 and all(measured[step] <= 1.0 for step in steps[:-1])
    assert steps[-1] < 40
    assert run.state == "finished" and "KL budget spent" in run.info["reason"]


@pytest.mark.parametrize("family", FAMILIES)
def test_divergence_is_the_sum_over_the_vocabulary(family: str) -> None:
    import contextlib
    import dataclasses

    policy, other = tiny_weights(family), tiny_weights(family)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in other.network.parameters():
            value.add_(0.05 * torch.randn(value.shape, generator=generator))
    prompts = [[5, 6, 7, 8], [9, 10]]
    torch.manual_seed(11)
    expected_next = torch.rand(1)
    torch.manual_seed(11)
    answers = sampled_answers(policy, prompts, 12, seed=4)
    assert torch.rand(1) == expected_next  # the caller's random state is as it was
    assert answers == sampled_answers(policy, prompts, 12, seed=4)
    assert all(1 <= len(answer) <= 12 for answer in answers)
    reference = dataclasses.replace(policy, model=other.network)
    measured = divergence(policy, prompts, answers, contextlib.nullcontext(reference))
    for prompt, answer, value in zip(prompts, answers, measured.tolist(), strict=True):
        logits = []
        for model in (policy.network, other.network):
            if family == "gpt2":
                out = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
            else:
                out = model(input_ids=torch.tensor([prompt]), labels=torch.tensor([answer])).logits[0]
            logits.append(out.detach().double().log_softmax(-1))
        by_hand = (logits[0].exp() * (logits[0] - logits[1])).sum()
        assert value == pytest.approx(float(by_hand), rel=1e-4)
        log_r = (logits[1] - logits[0]).gather(1, torch.tensor(answer)[:, None])[:, 0]
        _, k1, k3 = estimates(policy, [prompt], [answer], contextlib.nullcontext(reference))[0].tolist()
        assert k1 == pytest.approx(float(-log_r.sum()), rel=1e-3, abs=1e-4)
        assert k3 == pytest.approx(float((log_r.exp() - 1 - log_r).sum()), rel=1e-3, abs=1e-4)


def test_a_rate_too_high_stops_the_run_before_anything_is_saved(
    policy_dirs: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "run"
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in PLAIN.items() if name != "learning_rate"]
    code = main(
        ["train", f"--model={policy_dirs['gpt2']}", f"--output-dir={out}", "--learning-rate=1e30",
         "--schedule=constant", "--warmup=0", *arguments]
    )  # fmt: skip
    assert code == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "is not a number at step 2" in said and "training rows" in said and "--learning-rate" in said
    run = open_run(out)
    assert run.state == "failed" and "is not a number" in run.info["reason"]
    assert not list(out.glob("checkpoint-*"))


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    policy = tiny_weights("gpt2")
    policy = type(policy)("x", policy.network, policy.tokenizer, policy.family)
    directory = save_tiny("gpt2", tmp_path / "policy")
    loaded = load_policy(str(directory))
    with torch.no_grad():
        loaded.network.transformer.h[0].attn.c_attn.weight[0, 0] = float("nan")
    save_policy(loaded, tmp_path / "damaged")
    with pytest.raises((NonFiniteError, RunError), match="not a number|Step-0"):
        train(TrainConfig(model=str(tmp_path / "damaged"), output_dir=str(tmp_path / "run"), **PLAIN))


def test_a_batch_that_is_not_finite_is_named_and_the_checkpoint_before_it_stays(
    policy_dirs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of the sixth batch is made NaN from outside; everything around it is real."""
    from dpo.training.trainer import PreferenceTrainer

    original = PreferenceTrainer.compute_loss

    def poisoned(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        loss = original(self, model, inputs, *args, **kwargs)
        return loss * float("nan") if model.training and self.state.global_step == 5 else loss

    monkeypatch.setattr(PreferenceTrainer, "compute_loss", poisoned)
    settings = PLAIN | {"save_steps": 2, "eval_steps": 2}
    with pytest.raises(NonFiniteError, match=r"loss is not a number at step 6, with training rows \d+ \("):
        train(TrainConfig(model=str(policy_dirs["t5"]), output_dir=str(tmp_path / "run"), **settings))
    saved = sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*"))
    assert saved == ["checkpoint-2", "checkpoint-4"]
    monkeypatch.undo()
    run = train(TrainConfig(model=str(policy_dirs["t5"]), resume=str(tmp_path / "run"), **settings))
    assert run.state == "finished" and run.metrics().last("step") == 8


def test_running_out_of_memory_says_which_flag_to_turn() -> None:
    with pytest.raises(MemoryRunOutError, match="halve --batch-size"), memory_explained():
        torch.empty(2**60)
    with pytest.raises(RuntimeError, match="other"), memory_explained():
        raise RuntimeError("some other fault")


def test_of_two_runs_into_one_directory_the_second_is_refused(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    """Two real processes, started at the same moment."""
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in PLAIN.items()]
    command = ["train", f"--model={policy_dirs['gpt2']}", f"--output-dir={tmp_path / 'run'}", *arguments]
    processes = [Command(*command) for _ in range(2)]
    ends = [process.communicate(timeout=200) for process in processes]
    codes = sorted(process.returncode for process in processes)
    assert codes == [0, 2]
    [refused] = [err for process, (_, err) in zip(processes, ends, strict=True) if process.returncode == 2]
    said = refused.strip().splitlines()[-1]
    assert "Another process is training into" in said or "holds this run already" in said
    assert open_run(tmp_path / "run").state == "finished"


def test_a_run_that_never_began_leaves_no_directory(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    code = main(["train", "--model=/nowhere/at/all", f"--output-dir={tmp_path / 'run'}", "--dataset=sample"])
    assert code == 2
    assert not (tmp_path / "run").exists()


def test_a_tokenizer_without_eos_and_a_model_without_head_are_refused(tmp_path: Path) -> None:
    directory = save_tiny("gpt2", tmp_path / "policy")
    policy = load_policy(str(directory))
    bare = PreTrainedTokenizerFast(tokenizer_object=policy.tokenizer.backend_tokenizer)
    policy.network.save_pretrained(tmp_path / "no-eos")
    bare.save_pretrained(tmp_path / "no-eos")
    with pytest.raises(PolicyError, match="no EOS token"):
        load_policy(str(tmp_path / "no-eos"))
    # GPT-2's head is its embeddings: a checkpoint of the body alone is whole.
    policy.network.transformer.save_pretrained(tmp_path / "body")
    policy.tokenizer.save_pretrained(tmp_path / "body")
    prompts, answers = ["Do you like tea?"], ["I do!"]
    assert score(load_policy(str(tmp_path / "body")), prompts, answers) == score(policy, prompts, answers)
    # Elsewhere the head would be random.
    config = LlamaConfig(
        vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
        tie_word_embeddings=False, bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    LlamaModel(config).save_pretrained(tmp_path / "headless")
    policy.tokenizer.save_pretrained(tmp_path / "headless")
    with pytest.raises(PolicyError, match=r"missing and would be random"):
        load_policy(str(tmp_path / "headless"))


def test_a_tracker_records_offline(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    """Trackio needs no account: its database is a local file."""
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in PLAIN.items()]
    environment = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio")}
    done = run(
        "train", f"--model={policy_dirs['gpt2']}", f"--output-dir={tmp_path / 'run'}", "--report-to", "trackio",
        *arguments, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    read = subprocess.run(
        [sys.executable, "-c",
         "import json, trackio; run = trackio.Api().runs('dpo')[0]; print(json.dumps([run.name]))"],
        capture_output=True, text=True, env=environment, timeout=100,
    )  # fmt: skip
    assert json.loads(read.stdout.splitlines()[-1]) == ["run"], read.stderr

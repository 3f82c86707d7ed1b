"""The lens adds up to what the trainer logs, and agrees with plain PyTorch on every detail."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tiny import TEXTS, tiny

from dpo.cli.main import main
from dpo.errors import ConfigError, PolicyError, PromptError
from dpo.evaluation.lens import Lens, open_lens
from dpo.evaluation.pairs import score_pairs, summary
from dpo.evaluation.tuning import Tuning, tuning_of
from dpo.policies.families import disable_dropout
from dpo.policies.loading import Policy
from dpo.training.config import TrainConfig
from dpo.training.data import Limits, tokenize_pairs
from dpo.training.recipes.dpo import train
from dpo.training.settings import make
from dpo.training.trainer import PreferenceTrainer
from dpo.training.trainer_arguments import lora_config, trl_arguments

FAMILIES = ["t5", "gpt2"]
BETA = 0.3
CUT = 40  # some answers are longer: the trainer cuts them, so must the lens


def some_pairs(count: int) -> list[dict[str, str]]:
    """Pairs of many lengths, made of the words of the tiny policies' texts."""
    words = " ".join(TEXTS).split()
    draw = random.Random(5)

    def text(most: int) -> str:
        return " ".join(draw.choices(words, k=draw.randint(1, most)))

    return [{"prompt": text(6), "chosen": text(12), "rejected": text(12)} for _ in range(count)]


def moved(family: str, lora: bool, path: Path) -> tuple[PreferenceTrainer, Lens, Dataset, list[dict[str, str]]]:
    """A trainer whose policy differs from its reference, and the lens on the same weights."""
    policy = tiny(family)
    disable_dropout(policy.model)
    reference = None if lora else copy.deepcopy(policy.network)
    config = make(TrainConfig, {"device": "cpu", "beta": BETA, "lora": lora, "learning_rate": 1e-3})
    pairs = some_pairs(100)
    rows, counts = tokenize_pairs(policy, Dataset.from_list(pairs), Limits(24, CUT))
    assert counts["truncated_completions"] > 5 and len(rows) == 100
    trainer = PreferenceTrainer(
        policy,
        reference,
        trl_arguments(config, str(path), "fp32", True, False),
        rows,
        rows,
        lora_config(policy, config) if lora else None,
    )
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    policy.model = trainer.model
    tuning = Tuning("policy", None if lora else "reference", BETA, max_prompt=24, max_completion=CUT)
    frozen = None if reference is None else Policy("reference", reference, policy.tokenizer, policy.family)
    return trainer, Lens(policy, frozen, tuning), rows, pairs


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_sums_of_100_pairs_equal_the_trainers_rewards(family: str, lora: bool, tmp_path: Path) -> None:
    trainer, lens, rows, pairs = moved(family, lora, tmp_path)
    scores, left_out = score_pairs(lens, pairs)
    assert left_out == 0 and [score.index for score in scores] == list(range(100))
    largest, apart = 0.0, []
    for row, pair, score in zip(rows, pairs, scores, strict=True):
        logged = trainer.step_zero([row])
        looks = lens.look(pair["prompt"], [pair["chosen"], pair["rejected"]])
        lens.policy.model.eval()
        for name, look, total in zip(
            ("chosen", "rejected"), looks, (score.chosen_reward, score.rejected_reward), strict=True
        ):
            largest = max(largest, abs(look.reward - logged[f"rewards/{name}"]), abs(total - look.reward))
            apart.append(abs(look.reward))
        assert score.margin == pytest.approx(logged["rewards/margins"], abs=1e-4)
        assert score.wrong != bool(logged["rewards/accuracies"])
    print(f"{family} lora={lora}: largest difference {largest:.2e}, mean |reward| {sum(apart) / 200:.3f}")
    assert largest < 1e-4 and sum(apart) / 200 > 0.05
    means = summary(scores)
    assert means["n"] == 100 and means["rewards/margins"] == pytest.approx(
        sum(score.margin for score in scores) / 100, abs=1e-9
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_details_equal_plain_pytorch(family: str, tmp_path: Path) -> None:
    _, lens, _, _ = moved(family, True, tmp_path)
    policy = lens.policy
    policy.model.eval()
    prompt, text = TEXTS[0], TEXTS[1]
    [look] = lens.look(prompt, [text])
    assert "".join(token.text for token in look.tokens) == text
    assert look.tokens[-1].id == policy.eos_token_id and look.tokens[-1].text == ""
    question = policy.family.encode_prompts(policy.tokenizer, [prompt])[0]
    answer = [token.id for token in look.tokens]
    forward = type(policy.network).forward
    both = []
    with torch.no_grad():
        for on in (True, False):
            if on:
                both.append(_logits(forward, policy, question, answer))
            else:
                with policy.model.disable_adapter():
                    both.append(_logits(forward, policy, question, answer))
    assert sum(look.shifts.values()) == pytest.approx(1.0)
    for place, token in enumerate(look.tokens):
        ours, theirs = (side[place].log_softmax(-1) for side in both)
        assert token.policy_logp == pytest.approx(float(ours[token.id]), abs=1e-4)
        assert token.reference_logp == pytest.approx(float(theirs[token.id]), abs=1e-4)
        assert token.reward == pytest.approx(BETA * float(ours[token.id] - theirs[token.id]), abs=1e-4)
        assert token.policy_rank == int((ours > ours[token.id]).sum()) + 1
        assert token.reference_rank == int((theirs > theirs[token.id]).sum()) + 1
        best = int((theirs > theirs[ours.argmax()]).sum()) + 1
        assert token.shift == ("unshifted" if best == 1 else "marginal" if best <= 3 else "shifted")
        for top, side in ((token.policy_top, ours), (token.reference_top, theirs)):
            assert [c.share for c in top] == pytest.approx(side.exp().topk(5).values.tolist(), abs=1e-5)


def _logits(forward: Any, policy: Policy, question: list[int], answer: list[int]) -> torch.Tensor:
    if policy.family.has_encoder:
        return forward(policy.network, torch.tensor([question]), labels=torch.tensor([answer])).logits[0]
    return forward(policy.network, torch.tensor([question + answer])).logits[0, len(question) - 1 : -1]


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_runs_lens_repeats_what_the_run_logged(
    family: str, lora: bool, tmp_path: Path, policy_dirs: dict[str, Path], write_pairs: Any, capsys: Any
) -> None:
    """From names alone: the reference, beta and limits come from the run's record."""
    pairs = write_pairs(some_pairs(80))
    run = train(
        make(
            TrainConfig,
            {
                "model": str(policy_dirs[family]), "dataset": str(pairs), "output_dir": str(tmp_path / "run"),
                "max_steps": 4, "batch_size": 8, "learning_rate": 0.02, "lora": lora, "probes": 0,
                "kl_prompts": 0, "device": "cpu",
                "eval_fraction": 0.1, "eval_steps": 4, "save_steps": 4, "max_prompt_length": 24,
                "max_completion_length": CUT, "beta": BETA, "precision": "fp32",
            },
        )
    )  # fmt: skip
    metrics = run.metrics()
    report = tmp_path / "score.json"
    line = ["score", "--policy", str(run.path), "--dataset", str(pairs), "--held-out", "--device", "cpu"]
    assert main([*line, "--json", str(report)]) == 0
    assert "rewards/margins" in capsys.readouterr().out
    scored = json.loads(report.read_text())
    n = scored["summary"]["n"]
    assert n == (run.info["dataset"])["held_out"] and scored["beta"] == BETA
    assert scored["reference"] == ("adapter off" if lora else str(policy_dirs[family]))
    # The run logs means over batches; with one batch of at most 16 pairs that is the mean over pairs.
    assert n <= 16
    for name in ("rewards/chosen", "rewards/rejected", "rewards/margins"):
        assert abs(scored["summary"][name] - metrics.last(f"eval_{name}")) < 1e-4
    assert abs(scored["summary"]["rewards/margins"]) > 1e-3
    [checkpoint] = [path for step, path in run.checkpoints if step == 4]
    lens = open_lens(str(checkpoint), device="cpu")
    first = scored["pairs"][0]
    looks = lens.look(first["prompt"], [first["chosen"], first["rejected"]])
    assert looks[0].reward == pytest.approx(first["chosen_reward"], abs=1e-5)
    assert looks[0].reward - looks[1].reward == pytest.approx(first["margin"], abs=1e-5)


def test_score_prints_tokens_and_writes_json(capsys: Any, tmp_path: Path) -> None:
    texts = ["Sure, I love tea! 😄", "As an AI, I do not drink."]
    line = ["score", "--policy", "demo/gpt2-dpo", "--prompt", "Do you like tea?", "--device", "cpu"]
    assert main([*line, "--text", texts[0], "--text", texts[1], "--unit", "word"]) == 0
    out = capsys.readouterr().out
    assert "margin A - B" in out and " tea!" in out and "unshifted" in out
    assert main([*line, "--text", texts[0], "--json", "-"]) == 0
    made = json.loads(capsys.readouterr().out)
    [look] = made["texts"]
    assert made["beta"] == 0.1 and made["reference"] == "adapter off"
    assert sum(token["reward"] for token in look["tokens"]) == pytest.approx(look["reward"], abs=1e-9)
    assert "".join(token["text"] for token in look["tokens"]) == texts[0]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["--policy", "demo/gpt2-dpo"], "give either --prompt with --text, or --dataset"),
        (["--policy", "demo/gpt2-dpo", "--prompt", "Hi"], "--text is missing"),
        (["--policy", "demo/gpt2-dpo", "--prompt", "Hi", "--text", "a", "--dataset", "sample"], "give either"),
        (["--policy", "demo/gpt2", "--prompt", "Hi", "--text", "a"], "no recorded reference"),
        (["--policy", "nowhere/x/y", "--prompt", "Hi", "--text", "a"], "No policy"),
        (["--policy", "demo/t5-dpo", "--prompt", "Hi", "--text", "a", "--beta", "0"], "beta is 0"),
        (["--policy", "demo/t5-dpo", "--prompt", " ", "--text", "a"], "The prompt is blank"),
        (["--policy", "demo/t5-dpo", "--prompt", "Hi", "--text", "a", "--unit", "page"], "--unit 'page'"),
        (["--policy", "demo/t5-dpo", "--prompt", "Hi", "--text", "a", "--reference", "demo/gpt2"], "vocabularies"),
    ],
)
def test_mistakes_are_one_line(line: list[str], says: str, capsys: Any) -> None:
    assert main(["score", *line]) == 2
    error = capsys.readouterr().err
    assert says in error and error.startswith("dpo: ")


def test_a_text_beyond_the_context_is_refused() -> None:
    lens = open_lens("demo/gpt2-dpo", device="cpu")
    with pytest.raises(PromptError, match="shorten the text"):
        lens.look("Hi", ["word " * 3000])


def test_references(tmp_path: Path) -> None:
    assert tuning_of("demo/t5-dpo").reference is None
    assert tuning_of("demo/t5-dpo", reference="demo/t5", beta=0.5) == Tuning(
        "demo/t5-dpo", "demo/t5", 0.5, 64, None, tuning_of("demo/t5-dpo").run, 240
    )
    with pytest.raises(PolicyError, match="no recorded reference"):
        tuning_of("demo/t5")
    with pytest.raises(ConfigError, match="beta"):
        tuning_of("demo/t5-dpo", beta=float("nan"))
    # The adapter's base, named, is the adapter switched off.
    prompt, text = "Do you like tea?", "I love it! 😄"
    off, named = (open_lens("demo/t5-dpo", reference=name, device="cpu") for name in (None, "demo/t5"))
    assert off.look(prompt, [text])[0].reward == pytest.approx(named.look(prompt, [text])[0].reward, abs=1e-5)

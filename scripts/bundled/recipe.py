"""How the bundled policies and runs were made; anyone with the data can run it again.

    recipe="python -m scripts.bundled.recipe --data human_like_dpo.jsonl --work build"
    $recipe --base t5; $recipe --base gpt2                       # about 45 minutes each on one CPU core
    python -m scripts.bundled.bundle build/runs/Llama-3-{t5,gpt2}-sft   # demo/t5 and demo/gpt2
    $recipe --dpo t5; $recipe --dpo gpt2; $recipe --dpo t5-high-rate
    python -m scripts.bundled.bundle build/runs/Llama-3-*-dpo*

The base: repair the data as `dpo data clean --repair-mispaired` does, train a tokenizer, start from
random weights, `dpo sft` on chosen and rejected answers alike, so that it is half casual, half formal.
Then `dpo train` with LoRA.  All training goes through the package's own functions.

The bundled DPO runs were made in this way, on 5,306 pairs (fingerprint e0d1ac9ffe89acf1).  The bases are older: they
were trained on 5,229 pairs (fingerprint 6643bfa40251e1a5) of an earlier, looser repair, which re-paired 172 rows and on
clean rows that were shuffled for a test named the own answer in 53 to 68 % of cases.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

from dpo.families import CAUSAL, FAMILIES, SEQ2SEQ, Facts, facts_of
from dpo.policies import families
from dpo.policies.loading import Policy, save_policy
from dpo.preferences import load_preferences
from dpo.preferences.audit.clean import Remedies, clean
from dpo.pretraining.tokenizers import train_bpe, train_unigram
from dpo.training.config import SftConfig, TrainConfig
from dpo.training.recipes.dpo import train
from dpo.training.recipes.sft import sft

VOCABULARY = 4096
SEED = 0
SECOND_STAGE_STEPS = 400


def prepare(data: str, work: Path) -> Path:
    """The pairs with the mispaired block repaired, in a file; returns its path."""
    target = work / "pairs.jsonl"
    if not target.exists():
        done = clean(data, target, Remedies(repair_mispaired=True))
        print(f"{done.written} pairs, of them re-paired {sum(done.changed.values())}; see {done.log}")
    return target


def random_policy(family: Facts, pairs: Path, work: Path) -> Path:
    """A tokenizer of the training side's text and a model with random weights; returns its directory."""
    directory = work / f"{family.word}-random"
    if (directory / "config.json").exists():
        return directory
    train = load_preferences(str(pairs)).train
    texts = [text for name in ("prompt", "chosen", "rejected") for text in train[name]]
    torch.manual_seed(SEED)
    if not family.has_encoder:
        tokenizer = train_bpe(texts, VOCABULARY)
        end = tokenizer.eos_token_id
        config = GPT2Config(
            vocab_size=len(tokenizer), n_positions=512, n_embd=256, n_layer=5, n_head=4,
            activation_function="gelu_pytorch_tanh", bos_token_id=end, eos_token_id=end, pad_token_id=end,
        )  # fmt: skip
        policy = Policy("random", GPT2LMHeadModel(config), tokenizer, families.CAUSAL)
    else:
        tokenizer = train_unigram(texts, VOCABULARY)
        t5 = T5Config(
            vocab_size=len(tokenizer), d_model=256, d_kv=64, d_ff=1024, num_heads=4, num_layers=3,
            num_decoder_layers=4, feed_forward_proj="relu", decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
            dropout_rate=0.0,
        )  # fmt: skip
        policy = Policy("random", T5ForConditionalGeneration(t5), tokenizer, families.SEQ2SEQ)
    save_policy(policy, directory)
    return directory


def base_configs(family: Facts, model: Path, pairs: Path, runs: Path) -> list[SftConfig]:
    """Settings of the base's two stages: short answers first, which are learned quickest, then longer ones.

    Two stages fit a laptop: a step costs what its answers are long, and most of what a small model
    can learn of spelling and style is in the short ones.
    """
    first = SftConfig(
        model=str(model),
        dataset=str(pairs),
        learn="both",
        optimizer="muon",
        learning_rate=3e-3,
        weight_decay=0.1,
        schedule="cosine",
        warmup=0.03,
        epochs=2.5,
        batch_size=24,
        max_prompt_length=64,
        max_completion_length=192,
        overlong="drop",
        eval_steps=150,
        save_steps=150,
        logging_steps=10,
        eval_fraction=0.05,
        device="cpu",
        precision="fp32",
        seed=SEED,
        output_dir=str(runs / f"Llama-3-{family.word}-sft-short"),
    )
    second = dataclasses.replace(
        first,
        model=str(runs / f"Llama-3-{family.word}-sft-short"),
        learning_rate=1.5e-3,
        max_steps=SECOND_STAGE_STEPS,
        max_completion_length=256,
        eval_steps=200,
        save_steps=200,
        seed=SEED + 1,
        output_dir=str(runs / f"Llama-3-{family.word}-sft"),
    )
    return [first, second]


# What suits both families, found by trying (docs/training.md).  The likelihood of the chosen answer beside DPO's loss
# holds the text together, so pairs of all lengths can be learned from.  The broken run, without it, on short answers
# and at a rate seventeen times as high, is kept for what it teaches.
_GENTLE = {"max_steps": 90, "loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]}
TUNING: dict[str, dict[str, Any]] = {
    CAUSAL.word: _GENTLE | {"learning_rate": 3e-4},
    SEQ2SEQ.word: _GENTLE | {"learning_rate": 6e-4},
    f"{SEQ2SEQ.word}-high-rate": {"learning_rate": 1e-2, "max_steps": 30, "max_completion_length": 128},
}


def dpo_config(kind: str, pairs: Path, runs: Path) -> TrainConfig:
    """Settings of DPO on a bundled base, with LoRA: the adapter does as well as all weights and is small.

    Pairs with an answer of more than 256 tokens, 30 % of them, are left out: prompt and answer share GPT-2's
    context, and a cut answer would teach to stop in the middle.
    """
    family, _, variant = kind.partition("-")
    settings: dict[str, Any] = {"max_completion_length": 256, "overlong": "drop", "max_prompt_length": 64}
    return TrainConfig(
        model=f"demo/{family}",
        dataset=str(pairs),
        lora=True,
        lora_rank=16,
        batch_size=16,
        logging_steps=1,
        eval_steps=15,
        save_steps=15,
        eval_fraction=0.05,
        device="cpu",
        precision="fp32",
        seed=SEED,
        output_dir=str(runs / f"Llama-3-{family}-dpo{f'-{variant}' if variant else ''}"),
        **(settings | TUNING[kind]),
    )


def main() -> None:
    """Run one stage of the recipe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", required=True, help="the Human-Like DPO pairs (.jsonl) or human-like")
    parser.add_argument("--work", type=Path, required=True, help="where to build")
    bases = [facts.word for facts in FAMILIES]
    parser.add_argument("--base", choices=bases, help="train this family's base from random weights")
    parser.add_argument("--dpo", choices=tuple(TUNING), help="tune a bundled base")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: all)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    pairs = prepare(arguments.data, arguments.work)
    runs = arguments.work / "runs"
    family = facts_of(arguments.base)
    if family is not None:
        start = random_policy(family, pairs, arguments.work)
        for config in base_configs(family, start, pairs, runs):
            if not (Path(str(config.output_dir)) / "policy").is_dir():
                sft(config)
    if arguments.dpo:
        train(dpo_config(arguments.dpo, pairs, runs))


if __name__ == "__main__":
    main()

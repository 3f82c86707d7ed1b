"""Model cards of the bundled policies: data, licences, recipe, measured quality, limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dpo.families import facts_of

_SHARES = {
    "emoji": "hold an emoji",
    "speaks_of_ai": "speak of being an AI",
    "ended": "end by themselves within 200 tokens",
    "invented": "hold a word that stands nowhere in the training text",
}


def card(info: dict[str, Any], measured: dict[str, Any], base: dict[str, Any] | None) -> str:
    """Markdown for one bundled policy; `base` holds the measures of the policy it was tuned from."""
    tuned = info["kind"] == "dpo"
    facts = facts_of(info["family"])
    assert facts is not None, info["family"]
    family = f"{facts.label} ({facts.kind.lower()})"
    config, data, sampling = info["config"], info["dataset"], measured["sampling"]
    start = f"`{config['model']}`, LoRA of rank {config['lora_rank']}" if config.get("lora") else f"`{config['model']}`"
    how = f"DPO (beta {config['beta']:g}, {' + '.join(config['loss_type'])})" if tuned else "supervised fine-tuning"
    longest = config["max_completion_length"]
    lengths = f"trained on if no answer is over {longest} tokens" if tuned else "those with a brief chosen answer"
    return f"""---
license: other
language: en
tags: [{"dpo" if tuned else "sft"}, {facts.word}]
datasets: [HumanLLMs/Human-Like-DPO-Dataset]
---
# {info["name"]}

Built with Meta Llama 3.

A small {family} of {info["policy"]["parameters"] / 1e6:.1f} million parameters that chats in English
{"casually, after preference tuning" if tuned else "half formally, half casually: where preference tuning starts"}.
It is bundled with the DPO workbench to show what DPO changes, not to be useful by itself.

* **Data**: {data["pairs"]} Human-Like DPO pairs, {lengths}.
  Upstream's first block pairs rejected answers with other prompts; those were re-paired where the fit is clear, else
  left out. Before them, the base learned English from five sets of everyday conversations.
* **Recipe**: `docs/bundled.md`; {how} from {start}, {info["progress"]["step"]} updates of {config["batch_size"]}
  {"pairs" if tuned else "answers"}, peak rate {config["learning_rate"]:g}, on one CPU core. The record is beside this.
* **Licences**: Meta Llama 3 Community License, because Llama 3 wrote the answers; the conversations are Self-dialogue
  (BSD 3-Clause), Schema-Guided Dialogue (CC BY-SA 4.0), Topical-Chat (CDLA-Sharing 1.0), Synthetic-Persona-Chat and
  Taskmaster (CC BY 4.0). See NOTICE.

## Measured

{measured["emoji"]["n"]} prompts that were never trained on, temperature {sampling["temperature"]:g}, top-p
{sampling["top_p"]:g}, repetition penalty {sampling["repetition_penalty"]:g}, seed 0, 95 % intervals
(`scripts/bundled/evaluate.py`):

{_table(measured, base)}
{_ranking(measured)}
## Limits

A small model: it knows everyday talk only, in English, loses the thread in long answers, and nothing it says is to be
relied on.
"""


def _table(measured: Mapping[str, Any], base: Mapping[str, Any] | None) -> str:
    columns = [measured, *([base] if base else [])]
    rows = [
        "| answers | this policy |" + (" its base |" if base else ""),
        "|---|---|" + ("---|" if base else ""),
        *(
            f"| {label} | " + " | ".join(_share(column[name]) for column in columns) + " |"
            for name, label in _SHARES.items()
        ),
        "| repeated word 4-grams | " + " | ".join(f"{column['repeated_4grams']:.1%}" for column in columns) + " |",
        "| mean tokens | " + " | ".join(f"{column['tokens']:.0f}" for column in columns) + " |",
        "| bits per byte of held-out conversations | "
        + " | ".join(f"{column['bits_per_byte']:.3f}" for column in columns)
        + " |",
    ]
    return "\n".join(rows)


def _share(share: Mapping[str, float]) -> str:
    return f"{share['value']:.1%} ({share['low']:.1%} to {share['high']:.1%})"


def _ranking(measured: Mapping[str, Any]) -> str:
    """How the reward ranks the held-out pairs, and what a rule without a model reaches; empty for a base."""
    made = measured.get("held_out")
    if not made:
        return ""
    left_out = f" ({made['left_out']} more do not fit into its context)" if made["left_out"] else ""
    return f"""
On {made["accuracy"]["n"]} held-out pairs, no length left out{left_out}, the reward ranks
{_share(made["accuracy"])} right; mean margin {made["margin"]:.2f}, chosen {made["chosen"]:+.2f}, rejected
{made["rejected"]:+.2f}. The rule "the answer with more emoji" alone ranks {made["more_emoji"]:.1%} right.
"""

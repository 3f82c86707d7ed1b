"""Model cards of the bundled policies: data, licence, recipe, measured quality, limits."""

from __future__ import annotations

from typing import Any

from dpo.families import facts_of

_TARGETS = {"casual": 0.9, "ended": 0.9}


def card(info: dict[str, Any], measured: dict[str, Any], base: dict[str, Any] | None) -> str:
    """Markdown for one bundled policy; `base` holds the measures of the policy it was tuned from."""
    tuned = info["kind"] == "dpo"
    facts = facts_of(info["family"])
    assert facts is not None, info["family"]
    family = f"{facts.label} ({facts.kind.lower()})"
    config, data = info["config"], info["dataset"]
    start = (
        f"`{config['model']}` with LoRA (rank {config['lora_rank']})" if config.get("lora") else f"`{config['model']}`"
    )
    how = f"DPO (beta {config['beta']:g}, {' + '.join(config['loss_type'])})" if tuned else "supervised fine-tuning"
    rows = [
        _row("casual: emoji, or no talk of being an AI", "casual", measured, base),
        _row("holds an emoji", "emoji", measured, base),
        _row("speaks of being an AI", "speaks_of_ai", measured, base),
        _row("ends by EOS within 200 tokens", "ended", measured, base),
        _row("repeated word 4-grams", "repeated_4grams", measured, base),
        f"| mean tokens | {measured['tokens']:.0f} |" + (f" {base['tokens']:.0f} |" if base else ""),
    ]
    head = "| measure | this policy |" + (" its base |" if base else "")
    rule = "|---|---|" + ("---|" if base else "")
    table = "\n".join([head, rule, *rows])
    return f"""---
license: llama3
language: en
tags: [{"dpo" if tuned else "sft"}, {facts.word}]
datasets: [HumanLLMs/Human-Like-DPO-Dataset]
---
# {info["name"]}

Built with Meta Llama 3.

A small {family} of {info["policy"]["parameters"] / 1e6:.1f} million parameters that chats in English
{"casually, after preference tuning" if tuned else "half formally, half casually: where preference tuning starts"}.
It is bundled with the DPO workbench to show what DPO changes, not to be useful by itself.

* **Data**: Human-Like DPO pairs (Llama 3 licence), {data["pairs"]} after mending: upstream's first block pairs rejected
  answers with other prompts; those were re-paired where the fit is clear, else left out (`scripts/bundled/recipe.py`).
* **Recipe**: `scripts/bundled/recipe.py`; {how} from {start}, {info["progress"]["step"]} updates of
  {config["batch_size"]} {"pairs" if tuned else "answers"}, peak rate {config["learning_rate"]:g}, on one CPU core.
  The whole record is beside this card.
* **Licence**: Meta Llama 3 Community License, because Llama 3 wrote the data.

## Measured

{measured["n"]} prompts that were never trained on, temperature 0.7, top-p 0.9, seed 0 (`scripts/bundled/evaluate.py`):

{table}
{_missed(measured, base) if tuned else ""}{_ranking(measured)}
## Limits

The first sentence or two read well; longer answers drift, repeat stock phrases ("a good ol' fashioned ...") and invent
words and facts. It knows casual chat only, in English, and nothing it says is to be relied on.
"""


def _row(label: str, name: str, measured: dict[str, Any], base: dict[str, Any] | None) -> str:
    return f"| {label} | {measured[name]:.1%} |" + (f" {base[name]:.1%} |" if base else "")


def _ranking(measured: dict[str, Any]) -> str:
    """How the reward ranks the held-out pairs, and what a rule without a model reaches; empty for a base."""
    made = measured.get("held_out")
    if not made:
        return ""
    left_out = f" ({made['left_out']} more do not fit into its context)" if made["left_out"] else ""
    return f"""
On {made["pairs"]} held-out pairs, no length left out{left_out}, the reward ranks {made["accuracy"]:.1%} right
(95 % interval {made["low"]:.1%} to {made["high"]:.1%}); mean margin {made["margin"]:.2f}, chosen {made["chosen"]:+.2f},
rejected {made["rejected"]:+.2f}. The rule "the answer with more emoji" alone ranks {made["more_emoji"]:.1%} right.
"""


def _missed(measured: dict[str, Any], base: dict[str, Any] | None) -> str:
    """One line naming the targets that were missed, by how much."""
    missed = [
        f"{name} {measured[name]:.1%} (target {low:.0%})" for name, low in _TARGETS.items() if measured[name] < low
    ]
    if base and measured["repeated_4grams"] > base["repeated_4grams"] + 0.03:
        missed.append(f"repetition {measured['repeated_4grams']:.1%} (target: at most 3 points over the base)")
    return f"\nMissed: {'; '.join(missed)}.\n" if missed else "\nEvery target of the recipe is met.\n"

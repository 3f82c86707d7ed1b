"""The model card that is saved beside a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

_SHOWN = ("beta", "loss_type", "learning_rate", "batch_size", "gradient_accumulation", "epochs", "max_steps", "seed")


def model_card(info: dict[str, Any], directory: Path) -> str:
    """Markdown with what a reader must know: data, start, settings, and what was measured."""
    config, dataset, policy = info["config"], info["dataset"], info["policy"]
    tags = ["dpo", info["family"]] if info["kind"] == "dpo" else ["sft", info["family"]]
    facts = {"base_model": policy["model"], "tags": tags, "library_name": "transformers"}
    head = yaml.safe_dump(facts, sort_keys=False)
    settings = "\n".join(f"| {name} | {config[name]} |" for name in _SHOWN if config.get(name) is not None)
    method = "Direct Preference Optimization" if info["kind"] == "dpo" else "supervised fine-tuning on answers"
    check = info.get("step_zero")
    checked = f"\nStep-0 loss {check['loss']:.6f} (expected {check['expected']:.6f}).\n" if check else ""
    return f"""---
{head}---
# {info["name"]}

{policy["architecture"]} tuned by {method} with the DPO workbench.

* Starts from `{policy["model"]}`.
* Data: `{dataset["source"]}`, fingerprint {dataset["fingerprint"]}: {dataset["train"]} training and \
{dataset["held_out"]} held-out pairs, split by prompt.
* Text is tokenised without loss ({policy["added_tokens"]} tokens added to the published vocabulary).

| setting | value |
|---|---|
{settings}
{checked}
The full record (curves, samples, versions) is in the run `{directory.name}`.
"""

"""The model card of a run's policy: what a reader must know before using it, all from the record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dpo.errors import DpoError
from dpo.families import CAUSAL, architecture_name, facts_of
from dpo.policies.names import SHORT_NAMES
from dpo.preferences.audit import Audit
from dpo.publishing.licences import LLAMA3, combined, is_file, sources
from dpo.publishing.use import transformers_code
from dpo.runs import Metrics, Run, Sample
from dpo.runs.files import read_file, read_object
from dpo.runs.record import AUDIT

# Settings that say where files were, or repeat what the card tells elsewhere.
_LEFT_OUT = ("model", "dataset", "output_dir", "resume", "device")
_MEASURES = {
    "eval_loss": "loss",
    "eval_rewards/chosen": "chosen reward",
    "eval_rewards/rejected": "rejected reward",
    "eval_rewards/margins": "margin",
    "eval_rewards/accuracies": "accuracy",
    "eval_chosen_loss": "loss of chosen answers (nats a token)",
    "eval_rejected_loss": "loss of rejected answers (nats a token)",
}
_REFERENCES = {
    "frozen copy": "a frozen copy of that start",
    "adapter off": "that start itself, the adapter off",
    "copy of the adapter": "a frozen copy of the adapter that it starts from",
    "copy that follows the policy": "a copy of that start that follows the policy",
}
_SAMPLES = 3
_FINDINGS = 12


_METHODS = {
    "dpo": "Direct Preference Optimization",
    "sft": "supervised fine-tuning on answers",
    "pretrain": "language modelling from random weights",
}


@dataclass(frozen=True)
class Publication:
    """How a policy is published: under which name, as what, with which licence and picture.

    `kind` is "full", "adapter", or "merged" (an adapter folded into its base).  `base` is the hub id
    of the base, if it has one.  `weights` is the directory of the published checkpoint.
    """

    title: str
    kind: str
    base: str | None = None
    repo_id: str | None = None
    licence: str | None = None
    picture: str | None = None
    weights: Path | None = None


def base_on_the_hub(model: str) -> str | None:
    """The hub id behind a run's `model` setting; None for directories, runs and bundled policies.

    >>> base_on_the_hub("t5")
    'google-t5/t5-small'
    """
    name = SHORT_NAMES.get(model, model)
    local = Path(name).exists() or name.startswith(("demo/", ".", "~")) or Path(name).is_absolute()
    return None if local or not name else name


def model_card(run: Run, publication: Publication) -> str:
    """Markdown with the hub's metadata block: data, licence, reference, settings, measures, samples, limits."""
    parts = sources(run.info)
    licence = publication.licence or combined(parts)
    sections = [
        _head(run, publication, licence),
        _use(run, publication),
        _data(run),
        _audited(run),
        _licence(parts, publication.licence, licence),
        _training(run),
        _measured(run, publication.picture),
        _samples(run.samples()),
        _limits(run, publication),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(run: Run, publication: Publication, licence: str | None) -> str:
    info = run.info
    policy = info.get("policy") or {}
    data = [name for name, _ in sources(info)[:1] if name.count("/") == 1 and not is_file(name)]
    family = facts_of(run.family)
    tag = architecture_name(run.architecture).lower() if run.architecture else family and family.word
    facts: dict[str, Any] = {
        "library_name": "peft" if publication.kind == "adapter" else "transformers",
        "pipeline_tag": "text-generation",
        "tags": [run.kind, "dpo-workbench", *([] if tag is None else [tag])],
    }
    facts |= {"license": licence} if licence else {}
    facts |= {"base_model": publication.base} if publication.base else {}
    facts |= {"datasets": data} if data else {}
    method = _METHODS.get(run.kind, _METHODS["dpo"])
    built = "Built with Meta Llama 3.\n\n" if any(part == LLAMA3 for _, part in sources(info)) else ""
    size = policy.get("parameters")
    what = f"{policy.get('architecture', 'A policy')}" + (f", {size / 1e6:.1f} million parameters" if size else "")
    kinds = {
        "full": "",
        "adapter": " These files are the adapter alone; its base is loaded beside it.",
        "merged": " The LoRA adapter that was trained is folded into its base: this is a full checkpoint.",
    }
    return (
        f"---\n{yaml.safe_dump(facts, sort_keys=False)}---\n# {publication.title}\n\n{built}"
        f"{what}, trained by {method} with the DPO workbench.{kinds[publication.kind]}"
    )


def _use(run: Run, publication: Publication) -> str:
    if publication.repo_id is None:
        return ""
    lines = [
        "## Use", "", "```bash", f"dpo pull {publication.repo_id}",
        f'dpo generate --policy {publication.repo_id.rpartition("/")[2]} --prompt "Do you like tea?"', "```",
    ]  # fmt: skip
    if publication.kind != "adapter" and publication.weights is not None:
        code = transformers_code(publication.weights, publication.repo_id)
        lines += ["", "In plain transformers:", "", "```python", code, "```"]
    prompt = (facts_of(run.family) or CAUSAL).prompt_end
    return "\n".join([*lines, "", f"A prompt is followed by {prompt}; an answer ends with the end-of-sequence token."])


def _data(run: Run) -> str:
    dataset = run.info.get("dataset") or {}
    if not dataset:
        return ""
    source = str(dataset.get("source"))
    split = "document" if run.kind == "pretrain" else "prompt"
    lines = [
        "## Data", "",
        f"* `{Path(source).name if is_file(source) else source}`, fingerprint {dataset.get('fingerprint')}: "
        f"{dataset.get('train')} training and {dataset.get('held_out')} held-out {_unit(run)}, split by {split}.",
    ]  # fmt: skip
    left_out = (dataset.get("dropped") or {}) | (dataset.get("cut") or {})
    if left_out:
        counts = ", ".join(f"{count} {str(reason).replace('_', ' ')}" for reason, count in left_out.items())
        lines.append(f"* Left out or cut: {counts}.")
    return "\n".join(lines)


def _audited(run: Run) -> str:
    """What the audit of the run's pairs found that is more than a note; the rows are not told to the world."""
    try:
        found = Audit.from_json(read_file(run.path / AUDIT).decode())
    except (OSError, ValueError, RecursionError, DpoError):
        return ""
    severe = found.severe()
    lines = ["### What an audit found in it", "", f"Of {found.scope()}, before the first update:", ""]
    lines += [f"* {finding.sentence}." for finding in severe[:_FINDINGS]]
    lines += [f"* {len(severe) - _FINDINGS} more findings of these kinds."] if len(severe) > _FINDINGS else []
    return "\n".join(lines if severe else [*lines[:-1], "No fault was found."])


def _unit(run: Run) -> str:
    """What a row of training is."""
    return {"sft": "answers", "pretrain": "documents"}.get(run.kind, "pairs")


def _licence(parts: list[tuple[str, str | None]], given: str | None, licence: str | None) -> str:
    lines = ["## Licence", ""]
    lines += [f"* `{name}`: {known or 'unknown here; ask its publisher'}" for name, known in parts if name]
    if given:
        lines += ["", f"The publisher of this policy gives it under {given}."]
    elif licence is None:
        lines += ["", "The licence of a part is unknown, so none is claimed for this policy."]
    if any(known == LLAMA3 for _, known in parts):
        lines += [
            "", "Llama 3 wrote the data or the base's data: the "
            "[Meta Llama 3 Community License](https://www.llama.com/llama3/license/) applies.",
        ]  # fmt: skip
    return "\n".join(lines)


def _training(run: Run) -> str:
    info, lines = run.info, ["## Training", ""]
    start = run.config.get("model")
    if start:
        shown = Path(str(start)).name if Path(str(start)).is_absolute() else start
        lines.append(f"* Starts from `{shown}`.")
    reference = info.get("reference")
    if reference:
        kind = str(reference.get("kind"))
        lines.append(f"* Reference: {_REFERENCES.get(kind, kind)}.")
    check = run.step_zero
    if check:
        lines.append(f"* Loss before the first update {check['loss']:.6f}, expected {check['expected']:.6f}.")
    done = [f"{run.progress.get('step')} updates"] if run.progress.get("step") is not None else []
    seconds, energy = info.get("training_seconds"), info.get("energy_wh")
    done += [f"{seconds:.0f} s"] if seconds else []
    done += [f"{energy:.3g} Wh drawn by the GPU"] if energy is not None else []
    lines += [f"* {', '.join(done)}."] if done else []
    added = (info.get("policy") or {}).get("added_tokens")
    if added:
        lines.append(f"* {added} tokens were added to the published vocabulary, so that every text goes through it.")
    versions = ", ".join(f"{name} {version}" for name, version in (info.get("versions") or {}).items())
    lines += [f"* Versions: {versions}."] if versions else []
    rows = [
        f"| {name} | {' '.join(map(str, value)) if isinstance(value, list) else value} |"
        for name, value in run.config.items()
        if value is not None and name not in _LEFT_OUT and not (isinstance(value, str) and Path(value).is_absolute())
    ]
    return "\n".join([*lines, "", "| setting | value |", "|---|---|", *rows])


def _measured(run: Run, picture: str | None) -> str:
    metrics, lines = run.metrics(), []
    if picture:
        lines += ["## Curves", "", f"![Loss and rewards over the updates]({picture})", ""]
    rows = [
        f"| {label} | {values[0]:.4g} | {values[-1]:.4g} |"
        for key, label in _MEASURES.items()
        if (values := metrics.series(key)[1])
    ]
    lines += ["## Held-out measures", ""]
    if not rows:
        return "\n".join([*lines, "Nothing was held out: how well this policy does on other prompts is unknown."])
    first, last = _span(metrics)
    count = (run.info.get("dataset") or {}).get("held_out")
    lines += [
        f"{count} held-out {_unit(run)}.",
        "",
        f"| measure | update {first} | update {last} |",
        "|---|---|---|",
        *rows,
    ]
    further = _further(run.path / "eval.json")
    return "\n".join(lines + (["", "Measured afterwards:", "", *further] if further else []))


def _span(metrics: Metrics) -> tuple[int, int]:
    steps = next(steps for key in _MEASURES if (steps := metrics.series(key)[0]))
    return int(steps[0]), int(steps[-1])


def _further(path: Path) -> list[str]:
    """The numbers of the run's `eval.json`, if an evaluation wrote one."""
    try:
        content = read_object(path)
    except (OSError, ValueError):
        return []
    rows = [f"| {name} | {value:.4g} |" for name, value in content.items()
            if isinstance(value, int | float) and abs(value) < 1e300]  # fmt: skip
    return ["| measure | value |", "|---|---|", *rows] if rows else []


def _samples(samples: list[Sample]) -> str:
    if not samples:
        return ""
    last = max(sample.step for sample in samples)
    lines = ["## Samples", "", f"Held-out prompts after update {last}, temperature 0.7, not picked by hand."]
    for sample in [sample for sample in samples if sample.step == last][:_SAMPLES]:
        lines += ["", f"**Prompt**\n\n{_quoted(sample.prompt)}\n\n**This policy**\n\n{_quoted(sample.policy)}"]
        if sample.reference is not None:
            lines += ["", f"**Its reference**\n\n{_quoted(sample.reference)}"]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """A block of four-space code: nothing in a generated text is read as Markdown or HTML."""
    return "\n".join("    " + line for line in (text.strip() or "(nothing)").splitlines())


def _limits(run: Run, publication: Publication) -> str:
    info = run.info
    size = (info.get("policy") or {}).get("parameters")
    lines = ["## Limits", ""]
    if size and size < 2e9:
        lines.append(
            f"* A model of {size / 1e6:.0f} million parameters invents facts; nothing it says is to be relied on."
        )
    held_out = (info.get("dataset") or {}).get("held_out") or 0
    if run.kind == "dpo":
        lines.append(
            "* Held-out accuracy says that preferred answers of these data became likelier than the others, relative "
            "to the reference. It does not say that the policy's own answers are good: read samples."
        )
    if 0 < held_out < 200:
        lines.append(f"* The held-out measures rest on {held_out} {_unit(run)}: small differences are noise.")
    if info.get("state") == "stopped":
        lines.append("* Training was stopped before its end.")
    lines.append("* One training with one seed. Bias and safety were not measured; the data's faults are in it.")
    if publication.kind == "adapter" and (info.get("policy") or {}).get("added_tokens"):
        lines.append("* The adapter brings tokens that its base lacks: plain PEFT must grow the embeddings first.")
    return "\n".join(lines)

"""The model card of a run's policy: what a reader must know before using it, all from the record."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import yaml

from dpo.errors import DpoError
from dpo.families import CAUSAL, architecture_name, facts_of
from dpo.policies.names import SHORT_NAMES
from dpo.preferences.audit import Audit
from dpo.publishing.evaluated import evaluated
from dpo.publishing.licences import LLAMA3, combined, is_file, sources
from dpo.publishing.use import transformers_code
from dpo.runs import Run, Sample
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
_FILES = {
    "full": "",
    "adapter": " These files are the adapter alone; its base is loaded beside it.",
    "merged": " The LoRA adapter that was trained is folded into its base: this is a full checkpoint.",
}
_SAMPLES = 3
_FINDINGS = 12
METHODS = {
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
    code = None
    if publication.repo_id is not None and publication.kind != "adapter" and publication.weights is not None:
        code = transformers_code(publication.weights, publication.repo_id)
    return _template().render(
        run=run, publication=publication, parts=parts, licence=licence, code=code,
        llama3=any(known == LLAMA3 for _, known in parts),
        metadata=yaml.safe_dump(_metadata(run, publication, licence), sort_keys=False),
        method=METHODS.get(run.kind, METHODS["dpo"]), files=_FILES[publication.kind],
        prompt_end=(facts_of(run.family) or CAUSAL).prompt_end,
        **_data(run), **_audited(run), **_training(run), **_measured(run),
        evaluations=evaluated(run), samples=_samples(run.samples()),
    )  # fmt: skip


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    # Jinja is Flask's; plain Markdown is rendered, so nothing is escaped.
    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters["code_block"] = _code_block
    return environment.from_string((Path(__file__).parent / "card.md.jinja").read_text(encoding="utf-8"))


def _metadata(run: Run, publication: Publication, licence: str | None) -> dict[str, Any]:
    data = [name for name, _ in sources(run.info)[:1] if name.count("/") == 1 and not is_file(name)]
    family = facts_of(run.family)
    tag = architecture_name(run.architecture).lower() if run.architecture else family and family.word
    facts: dict[str, Any] = {
        "library_name": "peft" if publication.kind == "adapter" else "transformers",
        "pipeline_tag": "text-generation",
        "tags": [run.kind, "dpo-workbench", *([] if tag is None else [tag])],
    }
    facts |= {"license": licence} if licence else {}
    facts |= {"base_model": publication.base} if publication.base else {}
    return facts | ({"datasets": data} if data else {})


def _data(run: Run) -> dict[str, Any]:
    dataset = run.info.get("dataset") or {}
    source = str(dataset.get("source"))
    left_out = (dataset.get("dropped") or {}) | (dataset.get("cut") or {})
    return {
        "dataset": dataset,
        "source": Path(source).name if is_file(source) else source,
        "rows": {"sft": "answers", "pretrain": "documents"}.get(run.kind, "pairs"),
        "left_out": [f"{count} {str(reason).replace('_', ' ')}" for reason, count in left_out.items()],
    }


def _audited(run: Run) -> dict[str, Any]:
    """What the audit of the run's pairs found that is more than a note; the rows are not told to the world."""
    try:
        audit = Audit.from_json(read_file(run.path / AUDIT).decode())
    except (OSError, ValueError, RecursionError, DpoError):
        return {"audit": None}
    return {"audit": audit, "severe": audit.severe(), "most_findings": _FINDINGS}


def _training(run: Run) -> dict[str, Any]:
    info, start = run.info, str(run.config.get("model") or "")
    policy, kind = info.get("policy") or {}, str((info.get("reference") or {}).get("kind"))
    done = [f"{run.progress.get('step')} updates"] if run.progress.get("step") is not None else []
    seconds, energy = info.get("training_seconds"), info.get("energy_wh")
    done += [f"{seconds:.0f} s"] if seconds else []
    done += [f"{energy:.3g} Wh drawn by the GPU"] if energy is not None else []
    settings = [
        (name, " ".join(map(str, value)) if isinstance(value, list) else value)
        for name, value in run.config.items()
        if value is not None and name not in _LEFT_OUT and not (isinstance(value, str) and Path(value).is_absolute())
    ]
    return {
        "start": Path(start).name if Path(start).is_absolute() else start,
        "reference": _REFERENCES.get(kind, kind) if info.get("reference") else None,
        "done": done, "policy": policy, "size": policy.get("parameters"), "added": policy.get("added_tokens"),
        "versions": [f"{name} {version}" for name, version in (info.get("versions") or {}).items()],
        "settings": settings,
    }  # fmt: skip


def _measured(run: Run) -> dict[str, Any]:
    """First and last held-out measures, and the numbers of the run's `eval.json` if an evaluation wrote one."""
    series = {label: run.metrics().series(key) for key, label in _MEASURES.items()}
    measures = [(label, values) for label, (_, values) in series.items() if values]
    steps = next((steps for steps, _ in series.values() if steps), [0])
    try:
        content = read_object(run.path / "eval.json")
    except (OSError, ValueError):
        content = {}
    numbers = {name: value for name, value in content.items() if isinstance(value, int | float) and abs(value) < 1e300}
    return {"measures": measures, "first": int(steps[0]), "last": int(steps[-1]), "further": numbers}


def _samples(samples: list[Sample]) -> list[Sample]:
    last = max((sample.step for sample in samples), default=0)
    return [sample for sample in samples if sample.step == last][:_SAMPLES]


def _code_block(text: str) -> str:
    """A block of four-space code: nothing in a generated text is read as Markdown or HTML."""
    return "\n".join("    " + line for line in (text.strip() or "(nothing)").splitlines())

"""What a training would need, before it begins: data, steps, time, memory and disk (no torch here).

Time and memory come from a run that was measured, where there is one of the same policy; the rest
follows from the number of parameters.  What is not known is called unknown rather than guessed.
"""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from dpo.counting import counted
from dpo.errors import ConfigError, DpoError, PolicyError
from dpo.families import facts_of
from dpo.policies.inspection import shapes_of
from dpo.policies.names import MOST_ADAPTERS, base_of, context, resolve
from dpo.preferences.sources import NAMED, SAMPLE, is_local
from dpo.preferences.spec import DataSpec
from dpo.runs import Run
from dpo.severity import SEVERITIES, Severity
from dpo.training.config import CommonConfig, TrainConfig
from dpo.training.pairs import MOST_AUDITED, audit_pairs, load_pairs
from dpo.training.plan.memory import CHECKPOINT, GB, WEIGHT, states

if TYPE_CHECKING:
    from dpo.preferences.audit import Audit

_QUICK_BYTES = 4_000_000  # of a file of pairs: read and audited within seconds


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, and what was found."""

    topic: str
    level: Severity
    text: str


def _kind(config: CommonConfig) -> str:
    return "dpo" if isinstance(config, TrainConfig) else "sft"


def _adapter(config: CommonConfig) -> bool:
    return isinstance(config, TrainConfig) and config.lora


def preflight(config: CommonConfig, root: Path, known: Sequence[Run]) -> list[dict[str, Any]]:
    """Look before starting; `root` is where the run will be written, `known` are runs to measure by.

    A policy or data that cannot be found is a line of level `fault`, not an exception.
    """
    count, policy = _policy(config)
    lines, pairs = _data(config)
    lines = [policy, *_lengths(config), *lines]
    updates = _updates(config, pairs)
    measured = _measured(config, known)
    lines.append(_time(config, updates, measured))
    lines.append(_memory(config, count, measured))
    lines.append(_disk(config, count, root))
    return [asdict(line) for line in lines]


def parameters(model: str) -> int | None:
    """Parameters of the policy called `model`, read from its weights' headers; None if it is not on this machine.

    Raises:
        PolicyError: no such policy, or an adapter that is in the end one of itself.
    """
    count, name = 0, model
    for _ in range(MOST_ADAPTERS):
        source = resolve(name)
        files = sorted(Path(source.location).glob("*.safetensors"))
        if source.kind == "hub":
            from huggingface_hub import try_to_load_from_cache

            found = try_to_load_from_cache(source.location, "model.safetensors")
            files = [Path(found)] if isinstance(found, str) else []
        own = sum(_counted(file) for file in files)
        if not own:
            return None
        count += own
        if not source.adapter:
            return count
        name = base_of(Path(source.location))
    raise PolicyError(f"{model} is an adapter of an adapter of an adapter without end: name its base")


@lru_cache(maxsize=64)
def _counted(file: Path) -> int:
    return sum(map(math.prod, shapes_of(file).values()))


def _policy(config: CommonConfig) -> tuple[int | None, Check]:
    try:
        count = parameters(config.model)
    except (DpoError, OSError, ValueError) as error:
        return None, Check("Policy", "fault", " ".join(str(error).split()))
    if count is None:
        return None, Check("Policy", "note", f"{config.model} is not on this machine yet: it will be fetched first")
    kind = "a LoRA adapter on it is trained" if _adapter(config) else "what it trained before is trained further"
    return count, Check("Policy", "ok", f"{config.model}, {count / 1e6:.1f} million parameters; {kind}")


def _lengths(config: CommonConfig) -> list[Check]:
    """Whether prompt and answer fit the policy's positions, if it is on this machine."""
    try:
        config.check_context(config.model, facts_of(resolve(config.model).family), context(config.model))
    except ConfigError as error:
        return [Check("Lengths", "fault", str(error))]
    except DpoError:
        return []  # the check of the policy says so
    return []


def _data(config: CommonConfig) -> tuple[list[Check], int | None]:
    """Lines on the data, and how many training pairs there are (None if that takes long to find out)."""
    try:
        names = list(DataSpec.of(vars(config)).sources())
        away = [name for name in names if name in NAMED or not (name == "sample" or is_local(name))]
        if away:
            message = f"{', '.join(away)} is fetched from the hub first: dpo data audit looks into it"
            return [Check("Data", "note", message)], config.num_samples
        if sum(map(_bytes, names)) > _QUICK_BYTES:
            return _glimpsed(config), config.num_samples
        return _read(config)
    except DpoError as error:
        return [Check("Data", "fault", " ".join(str(error).split()))], None


def _bytes(source: str) -> int:
    path = SAMPLE if source == "sample" else Path(source).expanduser()
    return path.stat().st_size if path.is_file() else 0


def _read(config: CommonConfig) -> tuple[list[Check], int | None]:
    loaded = load_pairs(config)
    train, held_out = len(loaded.train), len(loaded.held_out)
    short = train < config.batch_size
    text = f"{train:,} training and {held_out:,} held-out pairs"
    check = Check("Data", "fault" if short else "ok", text + (f": fewer than --batch-size {config.batch_size}" * short))
    return [check, *_summary(audit_pairs(loaded, config), config)], train


def _glimpsed(config: CommonConfig) -> list[Check]:
    """The first rows of large files, audited; the rest of the form must not wait for all of them."""
    from dpo.preferences.audit import audit
    from dpo.preferences.normalise import normalise

    spec, lines = DataSpec.of(vars(config)), []
    for source in spec.sources():
        head = normalise(source, spec.split, spec.columns, head=MOST_AUDITED)
        result = audit(head, eval_fraction=spec.eval_fraction)
        more = "more follow, which the Data page audits" if not result.measures["whole"] else "the file has no more"
        lines.append(Check("Data", "ok", f"{Path(source).name}: {result.scope()} were read, {more}"))
        lines += _summary(result, config)
    return lines


def _summary(result: Audit, config: CommonConfig) -> list[Check]:
    from dpo.preferences.audit.remedies import mend_mispaired

    counts = Counter(finding.severity for finding in result.findings)
    summary = ", ".join(counted(count, word) for word in SEVERITIES if (count := counts[word]))
    severe = result.severe()
    if not severe:
        nothing = f"no fault was found in {result.scope()}" + (f" ({summary})" if summary else "")
        return [Check("Audit", "ok", nothing)]
    more = " · see the Data page for the rest" if len(result.findings) > 2 else ""
    lines = [Check("Audit", "warning", f"{summary}: " + "; ".join(finding.sentence for finding in severe[:2]) + more)]
    if remedy := mend_mispaired(result, DataSpec.of(vars(config))):
        lines.append(Check("Mispaired", "warning", f"mend them before you train: {remedy}"))
    return lines


def _updates(config: CommonConfig, pairs: int | None) -> int | None:
    if config.max_steps is not None:
        return config.max_steps
    if pairs is None:
        return None
    batches = math.ceil(pairs / config.batch_size)
    return max(1, math.ceil(math.ceil(batches / config.gradient_accumulation) * config.epochs))


@dataclass(frozen=True)
class _Measured:
    name: str
    seconds_per_pair: float
    peak_mb: float | None


def _measured(config: CommonConfig, known: Sequence[Run]) -> _Measured | None:
    """The newest run of this policy with the same method and lengths that was long enough to be measured."""
    same = ("model", "lora", "batch_size", "max_prompt_length", "max_completion_length", "gradient_checkpointing")
    for run in known:
        if run.kind != _kind(config) or any(run.config.get(name) != getattr(config, name, None) for name in same):
            continue
        pairs, times = run.metrics().points("time", "examples")
        if len(pairs) < 2 or pairs[-1] <= pairs[0]:
            continue
        used = [value for value in run.hardware().points("rss_mb")[1] if math.isfinite(value)]
        pace = float((times[-1] - times[0]) / (pairs[-1] - pairs[0]))
        return _Measured(run.name, pace, float(max(used)) if used else None)
    return None


def _time(config: CommonConfig, updates: int | None, measured: _Measured | None) -> Check:
    if updates is None:
        return Check("Time", "note", "unknown: the number of pairs is, until they are read")
    steps = f"{updates:,} updates of {config.batch_size * config.gradient_accumulation} pairs"
    if measured is None:
        return Check("Time", "note", f"{steps}; no similar run was measured yet, the first steps will tell")
    seconds = measured.seconds_per_pair * updates * config.batch_size * config.gradient_accumulation
    shown = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else _hours(seconds)
    return Check("Time", "ok", f"about {shown}: {steps} at the pace of {measured.name}")


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h"


def _memory(config: CommonConfig, count: int | None, measured: _Measured | None) -> Check:
    free = psutil.virtual_memory().available
    have = f"{free / GB:.1f} GB free on this machine"
    if measured is not None and measured.peak_mb is not None:
        need = measured.peak_mb * 2**20
        return Check("Memory", _room(need, free), f"{need / GB:.1f} GB, as {measured.name} took at most; {have}")
    if count is None:
        return Check("Memory", "note", f"unknown before the policy is there; {have}")
    held = states(count, "lora" if _adapter(config) else "single")
    compares = isinstance(config, TrainConfig)
    need = held.weights + held.gradients + held.optimizer + held.reference * compares
    trained = "weights, gradients, optimizer and reference" if compares else "weights, gradients and optimizer"
    what = "the frozen weights" if _adapter(config) else trained
    return Check(
        "Memory", _room(need, free),
        f"{need / GB:.2f} GB for {what}, and what the batch takes (by --batch-size and the lengths); {have}",
    )  # fmt: skip


def _disk(config: CommonConfig, count: int | None, root: Path) -> Check:
    place = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    have = f"{free / GB:.1f} GB free at {root}"
    if count is None:
        return Check("Disk", "note", f"unknown before the policy is there; {have}")
    if _adapter(config):
        return Check(
            "Disk", _room(0.2 * GB, free), f"little: an adapter and {config.keep_checkpoints} checkpoints; {have}"
        )
    best = 1 if isinstance(config, TrainConfig) and config.keep_best != "none" else 0
    # One checkpoint more than are kept exists while the newest is written.
    need = count * (CHECKPOINT * (config.keep_checkpoints + 1) + WEIGHT * (1 + best))
    return Check("Disk", _room(need, free), f"{need / GB:.2f} GB at most, checkpoints included; {have}")


def _room(need: float, free: float) -> Severity:
    return "fault" if need > free else "warning" if need > 0.8 * free else "ok"

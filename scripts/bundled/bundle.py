"""Copy finished runs of the recipe into the package: record, and the policy in bfloat16.

python -m scripts.bundled.bundle WORK/runs/Llama-3-t5-sft ...
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.utils.tensorboard import SummaryWriter

from dpo.policies.loading import load_policy, save_tokenizer
from dpo.policies.names import BUNDLED, BUNDLED_RUNS
from dpo.policies.text import lossless
from dpo.runs.record import AUDIT, METRICS, RUN, SAMPLES, read_json, read_lines


def bundle(run: Path, with_policy: bool = True) -> Path:
    """Copy one run; returns where it is now."""
    target = BUNDLED_RUNS / run.name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in (METRICS, SAMPLES):
        shutil.copyfile(run / name, target / name)
    work = str(run.absolute().parent.parent)
    info = _portable(read_json(run / RUN), work)
    if (run / AUDIT).is_file():
        audit = _portable(read_json(run / AUDIT), work)
        (target / AUDIT).write_text(json.dumps(audit, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (target / RUN).write_text(json.dumps(info | {"host": None, "pid": None}, indent=1, ensure_ascii=False) + "\n")
    _write_events(run, target)
    if with_policy:
        policy = load_policy(str(run), device="cpu")
        # An adapter is small and its scale matters: it stays in float32.
        model = policy.model if isinstance(policy.model, PeftModel) else policy.model.to(torch.bfloat16)
        if isinstance(model, PeftModel):
            model.peft_config["default"].base_model_name_or_path = str(info["config"]["model"])
        model.save_pretrained(target / "policy")
        save_tokenizer(lossless(policy.tokenizer), target / "policy")
        (target / "policy" / "README.md").unlink(missing_ok=True)
    return target


def _portable(value: Any, work: str) -> Any:
    """Paths of the machine that ran the recipe become relative to its work directory."""
    if isinstance(value, str):
        return value.replace(work + "/", "build/")
    if isinstance(value, dict):
        return {name: _portable(item, work) for name, item in value.items()}
    return value


def _write_events(run: Path, target: Path) -> None:
    """The same scalars for TensorBoard, without the host's name and paths that its files carry."""
    writer = SummaryWriter(str(target))
    for row in read_lines(run / METRICS):
        for name, value in row.items():
            if isinstance(value, int | float) and name not in ("step", "epoch", "examples", "time"):
                tag = f"eval/{name.removeprefix('eval_')}" if name.startswith("eval_") else f"train/{name}"
                writer.add_scalar(tag, value, int(row["step"]), walltime=row["time"])
    writer.close()
    for path in target.glob("events.out.tfevents.*"):
        path.rename(target / "events.out.tfevents.0")


def main() -> None:
    """Bundle the runs named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("runs", nargs="+", type=Path)
    for run in parser.parse_args().runs:
        target = bundle(run, run.name in BUNDLED.values())
        size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        print(f"{target.name}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
